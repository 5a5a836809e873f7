"""NDIF's controller and model actors, for a machine without a GPU or a Hugging Face hub, and for nnsight 0.8.1.

The server finds them by the environment variables ``NDIF_CONTROLLER_IMPORT_PATH`` and
``NDIF_DEFAULT_MODEL_ACTOR_CLASS``. Ray pickles their classes by reference, so every process that runs one imports
this module, and is patched by it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ray
import torch
from ndif.services.ray.deployments.controller.controller import _ControllerActor
from ndif.services.ray.deployments.modeling.base import BaseModelDeployment
from nnsight.modeling.huggingface import HuggingFaceModel
from nnsight.modeling.mixins.remotable import Remotable


def _without_trust(method: Callable[..., Any]) -> Any:
    """Make a class method ignore ``trust_remote_code``: ndif 0.1.2 passes it, nnsight 0.8.1 has it in the model key."""

    @functools.wraps(method)
    def call(cls: type, *args: Any, trust_remote_code: bool = False, **kwargs: Any) -> Any:
        return method(cls, *args, **kwargs)

    return classmethod(call)


for _name in ("describe_checkpoint", "max_tp_size"):
    setattr(Remotable, _name, _without_trust(vars(Remotable)[_name].__func__))

# With no size from the hub, nnsight counts the parameters itself.
HuggingFaceModel._hub_parameter_count = staticmethod(lambda repo_id, revision: None)

# Called after every request; the calls beside it do nothing without a GPU.
torch.cuda.synchronize = lambda device=None: None


class Controller(_ControllerActor):
    """NDIF's, unchanged; the subclass makes Ray's workers import this module."""


class Model(BaseModelDeployment):
    """A model on the CPU, frozen as NDIF's are."""

    CACHEABLE = False  # moving to a cache and back is for GPUs

    def load_from_disk(self) -> HuggingFaceModel:
        """Load the model that ``model_key`` names."""
        model = HuggingFaceModel.from_model_key(
            self.model_key, dispatch=True, dtype=self.dtype_name, device="cpu", **self.kwargs
        )
        model._module.requires_grad_(False)
        return model


ControllerActor = ray.remote(num_cpus=0, max_restarts=-1, resources={"head": 1})(Controller)
ModelActor = ray.remote(num_cpus=0, max_restarts=-1)(Model)

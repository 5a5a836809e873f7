"""An nnsight model whose runs execute on a server. Each run is one nnsight session, so it is one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate

import nnsight
from nnsight.modeling.huggingface import _ID_CACHE

from eap_plugin.backend.nnsight.model import NNsightModel
from eap_plugin.backend.nnsight.plan import Plan
from eap_plugin.backend.nnsight.remote.code_shipping import require_shippable
from eap_plugin.backend.nnsight.remote.errors import is_transient, one_line_error
from eap_plugin.backend.nnsight.remote.request import Connection
from eap_plugin.backend.nnsight.remote.result_codec import decode_result, encode_result
from eap_plugin.backend.nnsight.remote.server import SIMULATED, Server, address, ask
from eap_plugin.backend.nnsight.remote.simulation import Simulation
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.remote import LOCAL, Remote, public
from eap_plugin.model.residual_model import P, ResidualModel, T


class RemoteModel(NNsightModel):
    """A model on a server. Only its name, shapes and plan are known here; its weights are never loaded."""

    def __init__(self, envoy: Any, plan: Plan, info: ModelInfo, remote: Remote) -> None:
        """Wrap a model that the server has under the same name. A simulated server runs this model itself.

        Raises:
            UsageError: if the model has no name, unless the server is simulated.
        """
        NNsightModel.__init__(self, envoy, plan, replace(info, remote=remote))
        self._remote = remote
        simulated = remote.url == LOCAL
        if not simulated and not hasattr(envoy, "to_model_key"):
            raise UsageError(
                f"a server finds models by name, but {type(envoy).__name__} wraps one without a name; use "
                f'nnsight.TransformersModel(name, task="text-generation"), or load_model(name, remote=...)'
            )
        self._server: Server | None = SIMULATED if simulated else None
        if simulated:
            NNsightModel._loaded(self)
            return
        remote.host = public(address(remote))
        if Path(str(envoy.repo_id)).is_dir():
            _ID_CACHE.setdefault(envoy.repo_id, envoy.repo_id)  # else nnsight asks the hub for its full name

    @property
    def remote(self) -> Remote:
        """The server that it runs on."""
        return self._remote

    def _loaded(self) -> Any:
        """See ``NNsightModel``; without loading the weights."""
        return self.envoy._module

    def run(self, program: Callable[Concatenate[ResidualModel, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``ResidualModel.run``; code and arguments are sent by value, and the result comes back as plain values.

        Raises:
            EapPluginError: if anything fails in sending, on the server, or in the program.
        """
        there = NNsightModel(self.envoy, self.plan, ModelInfo(self.name, self.n_vocab, self.n_ctx))
        work = (there, program, args, kwargs)
        try:
            if self._server is None:
                self._server = ask(self.remote)
            require_shippable(work, self._server)
            answer = self._send(work)
        except EapPluginError:
            raise
        except Exception as error:
            raise one_line_error(error, self.name, self.remote, self._server) from error
        if "error" in answer:
            raise (UsageError if answer["usage"] else EapPluginError)(answer["error"])
        value: T = decode_result(answer["value"])
        return value

    def _send(self, work: tuple[Any, ...]) -> Mapping[str, Any]:
        """Send one request and return its answer; retry once after a transient error left by the previous job."""
        try:
            return self._request(work)
        except Exception as error:
            if not is_transient(error):
                raise
            self.remote.tell("transient error left by the previous job; retrying once")
            return self._request(work)

    def _request(self, work: tuple[Any, ...]) -> Mapping[str, Any]:
        answer: dict[str, Any] = {}
        link = Simulation if self.remote.url == LOCAL else Connection
        with self.envoy.session(backend=link(self.envoy, self.remote)):
            answer = nnsight.save(execute(*work))
        return answer


def execute(
    model: NNsightModel,
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """Run a program on the server, and return its encoded result, or the message if it raised an ``EapPluginError``."""
    try:
        return {"value": encode_result(model.run(program, *args, **kwargs))}
    except EapPluginError as error:
        return {"error": str(error), "usage": isinstance(error, UsageError)}

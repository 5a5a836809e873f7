"""AutoCircuit's ``PatchableModel``: a ``HookedTransformer`` whose hook points AutoCircuit has wrapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.backend.transformer_lens.cached_prefix import CachedPrefix
from eap_plugin.backend.transformer_lens.hooked import HookedModel
from eap_plugin.errors import UsageError
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.run_constraints import RunConstraints


class PatchableHooked(HookedModel):
    """A ``PatchableModel``, with the edges, positions and cached prefixes that it was created with.

    AutoCircuit gives every query head its own copy of the key and value head that it shares. So here, too, every query
    head has its own k and v readers.
    """

    def __init__(self, patchable: Any, info: ModelInfo) -> None:
        """Wrap a model that ``check_patchable`` has accepted."""
        model = patchable.wrapped_model
        self._wrappers = tuple(patchable.wrappers)
        self._past = CachedPrefix(patchable.kv_caches) if patchable.kv_caches else None
        n_prefix = 0 if self._past is None else self._past.n_pos
        options: dict[str, tuple[object, str]] = {}
        if patchable.seq_len is not None:
            options["positions"] = True, f"seq_len={patchable.seq_len}"
        if not patchable.separate_qkv:
            options["qkv"] = "summed", "separate_qkv=False"
        constraints = RunConstraints(
            n_prefix=n_prefix,
            n_pos=patchable.seq_len,
            whole_batches=self._past is not None and not self._past.alike,
            options=options,
        )
        info = replace(
            info,
            n_ctx=None if info.n_ctx is None else info.n_ctx - n_prefix,
            provenance={**info.provenance, "auto-circuit": version("auto-circuit")},
            run_constraints=constraints,
        )
        super().__init__(model, info, ungrouped=True)

    def _run(
        self, tokens: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch pos vocab"]:
        past = None if self._past is None else self._past.of(len(tokens))
        logits: Tensor = self.model(tokens, return_type="logits", attention_mask=mask, past_kv_cache=past)
        return logits

    def _hook_point(self, module: Any) -> Any:
        """Return the hook point inside one of AutoCircuit's wrappers."""
        return module.module if module in self._wrappers else module

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See ``HookedModel.frozen``; also turns off the wrappers' patch mode, and restores it afterwards."""
        patching = [wrapper for wrapper in self._wrappers if wrapper.patch_mode]
        with super().frozen():
            try:
                for wrapper in patching:
                    wrapper.patch_mode = False
                yield
            finally:
                for wrapper in patching:
                    wrapper.patch_mode = True


def check_patchable(patchable: Any) -> None:
    """Refuse a ``PatchableModel`` whose edges are not a transformer's, or whose logits are not the last token's.

    Raises:
        UsageError: saying how to make a suitable one.
    """
    inside = type(patchable.wrapped_model).__name__
    if inside != "HookedTransformer":
        raise UsageError(f"this PatchableModel wraps a {inside}; wrap a HookedTransformer to score its edges")
    if not patchable.is_factorized:
        raise UsageError(
            "this PatchableModel has edges between neighbouring layers only (factorized=False); "
            "make it with factorized=True"
        )
    if patchable.out_slice[-1] != -1:
        raise UsageError(
            "answers are read at the last token, but this PatchableModel returns the logits of several; "
            'make it with slice_output="last_seq"'
        )

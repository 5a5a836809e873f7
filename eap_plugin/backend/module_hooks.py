"""Visitors at PyTorch hooks, put on for one forward pass and taken off whatever happens; for backends over modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from eap_plugin.backend.attention_hooks import ATTENTION_SITES, visiting_attention
from eap_plugin.backend.calls import called_again
from eap_plugin.errors import EapPluginError
from eap_plugin.model.sites import SITES, Site, Visitor

Place = tuple[Site, int]
ValueHook = Callable[[Tensor], Tensor]
Attach = Callable[[ValueHook], Callable[[], None]]
"""Puts a hook on a place in the model and gives what takes it off again."""


def at_hook_point(point: Any) -> Attach:
    """The value that passes a hook point of TransformerLens. Hooks that others have put there stay."""

    def attach(visitor: ValueHook) -> Callable[[], None]:
        def on_activation(value: Tensor, hook: Any) -> Tensor:
            return visitor(value)

        point.add_hook(on_activation)
        handle = point.fwd_hooks[-1]

        def remove() -> None:
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]

        return remove

    return attach


def at_input(module: nn.Module) -> Attach:
    """The first argument of a module's forward pass."""

    def attach(hook: ValueHook) -> Callable[[], None]:
        return module.register_forward_pre_hook(lambda _, args: (hook(args[0]), *args[1:])).remove

    return attach


def at_output(module: nn.Module) -> Attach:
    """What a module returns."""

    def attach(hook: ValueHook) -> Callable[[], None]:
        return module.register_forward_hook(lambda _, args, output: hook(output)).remove

    return attach


def at_columns(attach: Attach, columns: tuple[int, int]) -> Attach:
    """Some columns of the last dimension of a place's value, first and one past the last."""
    start, stop = columns

    def attach_there(hook: ValueHook) -> Callable[[], None]:
        def on_value(value: Tensor) -> Tensor:
            return torch.cat([value[..., :start], hook(value[..., start:stop]), value[..., stop:]], -1)

        return attach(on_value)

    return attach_there


def kept_apart(attach: Attach) -> Attach:
    """A place whose value the model changes in place afterwards: the visitor's own stays as it was."""

    def attach_there(hook: ValueHook) -> Callable[[], None]:
        return attach(lambda value: hook(value).clone())

    return attach_there


@contextmanager
def visiting(
    places: Callable[[Site], Iterable[tuple[int, Attach]]],
    visit: Mapping[Site, Visitor],
    unembed: nn.Module,
    last: Int[Tensor, "batch"] | None,
    n_layers: int,
) -> Iterator[None]:
    """Call visitors, and unembed only the positions ``last``, as one row of prompts.

    Args:
        places: the layers and places of a site, but for ``scores``, ``pattern`` and ``unembed``, which have none.
        visit: the visitor of each site of interest.
        unembed: the module that turns the final residual stream into logits.
        last: the position of each prompt whose logits are wanted; the last one if not given.
        n_layers: the number of blocks.

    Raises:
        EapPluginError: if the model comes by a site of a layer twice, or not at all.
    """
    last_layer = n_layers - 1
    calls: dict[Place, int] = {}

    at_unembed = _hook(visit, "unembed", last_layer, calls) if "unembed" in visit else None

    def keep_last(x: Tensor) -> Tensor:
        kept = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last]
        kept = kept[None]  # one row: a single matrix product, where a row per prompt would be one product each
        return kept if at_unembed is None else at_unembed(kept)

    with ExitStack() as stack:
        stack.callback(at_input(unembed)(keep_last))
        for site in SITES:
            if site in visit and site not in (*ATTENTION_SITES, "unembed"):
                for layer, attach in places(site):
                    stack.callback(attach(_hook(visit, site, layer, calls)))
        stack.enter_context(visiting_attention(visit, n_layers))
        yield
    for (site, layer), count in calls.items():
        if not count:
            raise EapPluginError(
                f"the model did not come by {site} of layer {layer}: it does not call the module that its place "
                f"is at, so edge scores are not defined for it"
            )


def _hook(visit: Mapping[Site, Visitor], site: Site, layer: int, calls: dict[Place, int]) -> ValueHook:
    visitor = visit[site]
    calls[site, layer] = 0

    def hook(value: Tensor) -> Tensor:
        calls[site, layer] += 1
        if calls[site, layer] > 1:
            raise called_again(f"{site} of layer {layer}")
        # An alias of its own, and handed back even when unchanged: only so is the value that the visitor saw the one
        # the model goes on with, and its gradient that of this site alone where two sites share a tensor.
        value = value.view_as(value)
        new = visitor(layer, value)
        return value if new is None else new

    return hook

"""Visitors as PyTorch hooks, for backends whose models are made of PyTorch modules.

A backend says where each site is with an ``Attach`` function: a module's input or output, a TransformerLens hook point,
or some columns of one of these. ``visiting`` attaches a hook to each requested site for one forward pass, checks that
each was reached exactly once, and removes all hooks afterwards, even if the pass fails.
"""

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
"""Attaches a hook to one place in a model, and returns a function that removes it."""


def at_hook_point(point: Any) -> Attach:
    """Attach to a TransformerLens hook point, whose other hooks are left in place."""

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
    """Attach to the first argument of a module's forward method."""

    def attach(hook: ValueHook) -> Callable[[], None]:
        return module.register_forward_pre_hook(lambda _, args: (hook(args[0]), *args[1:])).remove

    return attach


def at_output(module: nn.Module) -> Attach:
    """Attach to the return value of a module."""

    def attach(hook: ValueHook) -> Callable[[], None]:
        return module.register_forward_hook(lambda _, args, output: hook(output)).remove

    return attach


def at_columns(attach: Attach, columns: tuple[int, int]) -> Attach:
    """Attach to the columns (start, stop) of the last dimension of the value at another place."""
    start, stop = columns

    def attach_there(hook: ValueHook) -> Callable[[], None]:
        def on_value(value: Tensor) -> Tensor:
            return torch.cat([value[..., :start], hook(value[..., start:stop]), value[..., stop:]], -1)

        return attach(on_value)

    return attach_there


def copied_for_model(attach: Attach) -> Attach:
    """Attach to a place, and give the model a copy of the value there, because it changes that value in place."""

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
    """Call visitors during a forward pass, and unembed only the positions ``last``, as [1, batch, d_model].

    Args:
        places: returns the layers and places of a site; not asked for ``scores``, ``pattern`` and ``unembed``.
        visit: the visitor of each requested site.
        unembed: the module that turns the final residual stream into logits.
        last: for each prompt, the position whose logits are needed; the last position if not given.
        n_layers: the number of blocks.

    Raises:
        EapPluginError: if the model reaches a site of a layer more than once, or never.
    """
    last_layer = n_layers - 1
    calls: dict[Place, int] = {}

    at_unembed = _hook(visit, "unembed", last_layer, calls) if "unembed" in visit else None

    def keep_last(x: Tensor) -> Tensor:
        kept = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last]
        kept = kept[None]  # one row, so that unembedding is one matrix product instead of one per prompt
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
                f"the model never reached {site} of layer {layer}: its forward pass does not call the module that "
                f"this site is mapped to, so edge scores are not defined for it"
            )


def _hook(visit: Mapping[Site, Visitor], site: Site, layer: int, calls: dict[Place, int]) -> ValueHook:
    visitor = visit[site]
    calls[site, layer] = 0

    def hook(value: Tensor) -> Tensor:
        calls[site, layer] += 1
        if calls[site, layer] > 1:
            raise called_again(f"{site} of layer {layer}")
        # The visitor gets a view, and the model continues with that view even if the visitor does not replace it. So
        # the gradient of what the visitor saw is that of this site alone, also where two sites share a tensor.
        value = value.view_as(value)
        new = visitor(layer, value)
        return value if new is None else new

    return hook

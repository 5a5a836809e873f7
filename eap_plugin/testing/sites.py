"""A run that records the value of every site, and the order and shapes that these must have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import SITES, Site, Visitor

WATCHED_ONLY: frozenset[Site] = frozenset({"attn_in", "mlp_in"})
"""Sites that are only watched: the model need not use a value that replaces one of these."""


@dataclass
class Run:
    """The record of a forward pass.

    Attributes:
        order: the sites with their layers, in the order of the visits.
        values: the value at each, differentiable from the embedding on.
        logits: the output.
    """

    logits: Float[Tensor, "batch vocab"]
    order: list[tuple[Site, int]] = field(default_factory=list)
    values: dict[tuple[Site, int], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ResidualModel, tokens: Int[Tensor, "batch pos"], sites: Iterable[Site]) -> Run:
        """Run a model and record every value; this is a program for ``model.run``."""
        order: list[tuple[Site, int]] = []
        values: dict[tuple[Site, int], Tensor] = {}

        def keep(site: Site) -> Visitor:
            def visitor(layer: int, value: Tensor) -> Tensor:
                value = value.detach().requires_grad_() if site == "embed" else value
                order.append((site, layer))
                values[site, layer] = value
                return value

            return visitor

        return cls(model.forward(tokens, {site: keep(site) for site in sites}), order, values)


def assert_in_order(order: Sequence[tuple[Site, int]], parallel: bool) -> None:
    """Check that sites were visited in the order that ``Site`` documents.

    Args:
        order: the sites with their layers, as they were visited.
        parallel: whether attention and MLP of a block read the same residual stream.
    """
    stage = {"embed": 0, "final": 2, "unembed": 2}
    places = [(stage.get(site, 1), layer) for site, layer in order]
    assert places == sorted(places), f"the layers' sites are not visited one layer after another: {order}"
    for layer in {layer for site, layer in order if site not in stage}:
        visited = [site for site, index in order if index == layer and site not in stage]
        if "attn_in" in visited:
            assert visited[0] == "attn_in", f"attn_in is not the first site of layer {layer}: {visited}"
        mlp = [site for site in visited if site.startswith("mlp")]
        attention = [site for site in visited if not site.startswith("mlp")]
        for part in (attention, mlp) if parallel else (visited,):
            assert part == sorted(part, key=SITES.index), f"sites of layer {layer} are out of order: {part}"


def expected_shape(model: ResidualModel, site: Site, n_prompts: int, n_pos: int, found: list[int]) -> list[int]:
    """Return the shape of a site; the width of an MLP's hidden layer is taken from ``found``."""
    _, d_model, d_head = model.layers[0].W_Q.shape
    heads = {"q": model.graph.n_heads, "k": model.graph.n_kv_heads, "v": model.graph.n_kv_heads}
    if site in ("q", "k", "v", "z"):
        return [n_prompts, n_pos, heads.get(site, model.graph.n_heads), d_head]
    if site in ("scores", "pattern"):
        return [n_prompts, model.graph.n_heads, n_pos, n_pos]
    if site in ("mlp_gate", "mlp_pre", "mlp_post"):
        return [n_prompts, n_pos, found[-1]]
    return [1, n_prompts, d_model] if site == "unembed" else [n_prompts, n_pos, d_model]

"""Minimality: every edge of a circuit against random edges that are added to it (Shi et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

from eap_plugin.circuits.hypothesis_tests.result import EdgeNeed, Minimality

NAMED = 3
"""The number of superfluous edges that the sentence names."""


def minimality(
    edges: Sequence[str],
    effects: Float[Tensor, "edges"],
    random_effects: Float[Tensor, "draws"],
    *,
    quantile: float = 0.9,
    alpha: float = 0.05,
) -> Minimality:
    """Test whether every edge of a circuit matters more than a share ``quantile`` of randomly added edges.

    An edge's effect is the distance (see ``against_random.distance``) between the circuit and the circuit without it.
    For each edge a one-sided binomial test on the number of smaller random effects (no ties); the p-values are
    corrected for the number of edges by Holm's method, so that a minimal circuit is rejected with probability
    ``alpha`` at most. The statistic is the number of edges that are rejected, the p-value the smallest.

    Args:
        edges: the names of the edges tested, at least one.
        effects: the effect of each.
        random_effects: the effects of random edges, each knocked out of the circuit inflated by it.
        quantile: the share of random edges that a needed edge is to exceed.
        alpha: the significance level.
    """
    exceeded = (effects[:, None] > random_effects).sum(1).tolist()
    draws = len(random_effects)
    by_count = {k: float(binomtest(k, draws, quantile, alternative="less").pvalue) for k in set(exceeded)}
    p_values = holm(torch.tensor([by_count[k] for k in exceeded], dtype=torch.float64)).tolist()
    found = tuple(
        EdgeNeed(edge, effect, p_value, p_value > alpha)
        for edge, effect, p_value in zip(edges, effects.tolist(), p_values, strict=True)
    )
    unneeded = [edge.edge for edge in found if not edge.needed]
    return Minimality(
        name="minimality",
        null=f"every edge of the circuit matters more than at least {quantile:.0%} of randomly added edges",
        statistic=float(len(unneeded)),
        p_value=min(p_values),
        rejected=bool(unneeded),
        passed=not unneeded,
        sentence=f"Of {len(found)} edges tested, compared with randomly added ones, {_told(unneeded)}.",
        edges=found,
    )


def _told(unneeded: Sequence[str]) -> str:
    """Return what to say of the edges that are not needed; the first few are named."""
    if not unneeded:
        return "none was shown to be superfluous"
    more = f" and {len(unneeded) - NAMED} more" if len(unneeded) > NAMED else ""
    verb = "is" if len(unneeded) == 1 else "are"
    return f"{len(unneeded)} {verb} superfluous: {', '.join(unneeded[:NAMED])}{more}"


def holm(p_values: Float[Tensor, "tests"]) -> Float[Tensor, "tests"]:
    """Return p-values corrected for multiple tests by Holm's method (Holm 1979), in the order given."""
    order = p_values.argsort()
    factors = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    stepped = (p_values[order] * factors).cummax(0).values.clamp(max=1)
    return torch.empty_like(p_values).scatter_(0, order, stepped)

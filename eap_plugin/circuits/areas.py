"""Areas under and beside a faithfulness curve, as MIB defines them (Mueller et al. 2025, arXiv 2504.13151).

With p the share of edges (or nodes, or neurons) that a circuit was selected to have, before pruning, and f(p) its
faithfulness, CPR is the area under f and CMD the area between f and 1, both by trapezoids over p between the curve's
first and last point. The curve of a perfect circuit at MIB's sizes, f = 1, has CPR 0.999 and CMD 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MIB_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The shares of all edges, nodes or neurons at which MIB evaluates circuits."""


def circuit_performance_ratio(
    fractions: Sequence[float], faithfulness: Float[Tensor, "*samples points"]
) -> Float[Tensor, "*samples"]:
    """Return CPR, the area under the faithfulness curve; higher is better."""
    return torch.trapezoid(faithfulness, torch.tensor(fractions, dtype=faithfulness.dtype))


def circuit_model_distance(
    fractions: Sequence[float], faithfulness: Float[Tensor, "*samples points"]
) -> Float[Tensor, "*samples"]:
    """Return CMD, the area between the faithfulness curve and 1; lower is better, and 0 is a perfect circuit.

    The distance to 1 is taken at the points, so a curve that crosses 1 between two of them counts as MIB counts it.
    """
    return torch.trapezoid((1 - faithfulness).abs(), torch.tensor(fractions, dtype=faithfulness.dtype))

"""Scores against a circuit that is known: do its edges have larger absolute scores than the others?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.circuits.comparison.ranking import top_mask, tops, values
from eap_plugin.circuits.selection.base import scored
from eap_plugin.data.ranks import mean_ranks
from eap_plugin.errors import UsageError
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.text_table import fixed, labelled, shortened, text_table

MIB_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The sizes of MIB's circuits, as shares of all edges."""


class Found(NamedTuple):
    """How much of a known circuit a set of edges has.

    Attributes:
        size: the number of edges in the set.
        precision: the share of them that are in the circuit; 0 if the set is empty.
        recall: the share of the circuit that is in the set, also called the true positive rate.
        false_positive_rate: the share of all edges that are not in the circuit that are in the set.
    """

    size: int
    precision: float
    recall: float
    false_positive_rate: float


@dataclass(frozen=True)
class Recovery:
    """How well the absolute scores of edges tell a known circuit from the other edges.

    Attributes:
        name: the name of the scores.
        n: the number of edges.
        n_true: the number of edges of the known circuit.
        auroc: the area under the ROC curve: the probability that a random edge of the circuit has a larger absolute
            score than a random other edge, ties counting half.
        average_precision: Σ_i (R_i − R_{i−1}) P_i over thresholds i, with precision P and recall R of the edges whose
            absolute score is at least the threshold; edges of equal score are taken in together.
        at: precision and recall of the k largest absolute scores, ties in the graph's order.
        mib_auroc: the area as MIB computes it (``mib_auroc``); ``None`` if that was not asked for.
    """

    name: str
    n: int
    n_true: int
    auroc: float
    average_precision: float
    at: tuple[Found, ...]
    mib_auroc: float | None = None

    def table(self) -> str:
        """Return the result as text of at most 80 columns."""
        areas = {"AUROC": self.auroc, "average precision": self.average_precision}
        if self.mib_auroc is not None:
            areas["AUROC as in MIB"] = self.mib_auroc
        rows = [(f"{at.size}", fixed(at.precision, signed=False), fixed(at.recall, signed=False)) for at in self.at]
        return "\n".join(
            [
                f"{shortened(self.name, 80)}",
                f"{self.n_true:,} of {self.n:,} edges are in the known circuit",
                "",
                labelled({label: fixed(area, signed=False) for label, area in areas.items()}),
                "",
                text_table(("Top", "Precision", "Recall"), rows),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return asdict(self) | {"at": [at._asdict() for at in self.at]}


def recovery(
    scores: PruneScores,
    truth: Bool[Tensor, "sources readers"],
    name: str,
    ks: Sequence[int] | None = None,
    curve: Sequence[Bool[Tensor, "sources readers"]] | None = None,
) -> Recovery:
    """Compare scores with a known circuit; scores kept per position are summed over positions first.

    Args:
        scores: the scores.
        truth: true at the edges of the known circuit.
        name: the name of the scores.
        ks: the numbers of largest absolute scores to compare; by default the size of the circuit and ``DEFAULT_TOPS``.
        curve: circuits of growing size selected from the scores, for MIB's area.

    Raises:
        UsageError: if the circuit has no edge or all edges, or one of ``ks`` is larger than the number of edges.
    """
    scores = scores.sum_positions()
    is_edge = scored(scores)
    true = truth.cpu()[is_edge]
    n_true = int(true.sum())
    if not 0 < n_true < len(true):
        raise UsageError(
            f"a known circuit of {n_true} of {len(true)} edges tells nothing about scores; "
            f"give one that has some edges, but not all"
        )
    sizes = sorted({n_true, *tops(None, len(true))}) if ks is None else tops(ks, len(true))
    strengths = values(scores).abs()
    return Recovery(
        name,
        len(true),
        n_true,
        auroc(strengths, true),
        average_precision(strengths, true),
        tuple(found(top_mask(scores, k), true) for k in sizes),
        None if curve is None else mib_auroc([found(circuit.cpu()[is_edge], true) for circuit in curve]),
    )


def found(chosen: Bool[Tensor, "n"], true: Bool[Tensor, "n"]) -> Found:
    """Compare a set of edges with the known circuit (MIB's ``compare_graphs``)."""
    size, hits, n_true = int(chosen.sum()), int((chosen & true).sum()), int(true.sum())
    return Found(size, hits / size if size else 0.0, hits / n_true, (size - hits) / (len(true) - n_true))


def auroc(strengths: Tensor, true: Bool[Tensor, "n"]) -> float:
    """Return the area under the ROC curve, from the ranks of the true edges (Mann and Whitney's U)."""
    n_true = int(true.sum())
    wins = mean_ranks(strengths)[true].sum() - n_true * (n_true + 1) / 2
    return float(wins / (n_true * (len(true) - n_true)))


def average_precision(strengths: Tensor, true: Bool[Tensor, "n"]) -> float:
    """Return the average precision, with a threshold at every distinct strength."""
    order = torch.sort(strengths, descending=True).indices
    hits = true[order].double().cumsum(0).numpy()
    last = np.append(np.diff(strengths[order].numpy()) != 0, True)
    hits, sizes = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) / hits[-1] * hits / sizes).sum())


def mib_auroc(curve: Sequence[Found]) -> float:
    """Return the area as MIB computes it: true over false positive rates of some circuits, by the trapezoid rule.

    False positive rates are divided by that of the last circuit, and no point (0, 0) is added. MIB takes greedy
    circuits of the sizes ``mib_sizes``, without what is not connected (Mueller et al. 2025, arXiv 2504.13151).

    Args:
        curve: the circuits compared with the known one, the smallest first; the last must have false positives.
    """
    rates = torch.tensor([[point.false_positive_rate, point.recall] for point in curve], dtype=torch.float64)
    return float(torch.trapezoid(rates[:, 1], rates[:, 0] / rates[-1, 0]))


def mib_sizes(n_edges: int) -> list[int]:
    """Return the sizes of MIB's circuits for the ROC curve: shares of all edges, rounded up."""
    return [ceil(share * n_edges) for share in MIB_SHARES]

"""Scores and evaluations with names that matplotlib, SVG or HTML would read as something else than text."""

from __future__ import annotations

from typing import Any

import torch

from eap_plugin.circuits.evaluation.bootstrap import Interval
from eap_plugin.circuits.evaluation.result import Evaluation, Point
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

GRAPH = Graph(n_layers=2, n_heads=4, n_kv_heads=2)
MATHS = r"$\frac{1}{0}$ $\input{/etc/passwd}$"
HOSTILE = f"{MATHS} <script>alert(1)</script>&\x1b[31m" + "very " * 30 + "long"


def scores(name: str = "eap", seed: int = 0, n_positions: int | None = None) -> PruneScores:
    shape = [len(GRAPH.sources), len(GRAPH.readers)]
    shape = shape if n_positions is None else [n_positions, *shape]
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) ** 3
    return PruneScores(GRAPH, matrix * edge_mask(GRAPH), {"algorithm": name, "metric_unit": "logits"})


def node_scores() -> NodeScores:
    return NodeScores(GRAPH, torch.linspace(-1, 2, len(GRAPH.sources)), metadata={"algorithm": "eap"})


def evaluation(
    algorithm: str | None = "eap", sizes: tuple[int, ...] = (0, 3, 9, 28), random: bool = False
) -> Evaluation:
    points = []
    for signed in (True, False):
        for size in sizes:
            kept = size / max(sizes) * (0.8 if signed else 1)
            drawn = torch.tensor([0.0, 0.1 * kept], dtype=torch.float64) if random else torch.zeros(0).double()
            band = Interval(0.0, 0.1 * kept) if random else None
            interval = Interval(kept - 0.1, kept + 0.05)
            metric = torch.full((2,), kept, dtype=torch.float64)
            points.append(Point(size, kept, signed, size, size, size, metric, kept, interval, drawn, band))
    about: dict[str, Any] = {"metric": "logit_diff", "model": "m", "task": "t", "n_prompts": 2} | (
        {"evaluated": {"algorithm": algorithm}} if algorithm else {}
    )
    ones = torch.ones(2, dtype=torch.float64)
    return Evaluation(tuple(points), ones, 0 * ones, 0 * ones, metadata=about)

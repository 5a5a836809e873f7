"""Scores, evaluations and what pages show of them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import torch

from eap_plugin.circuits.evaluation.bootstrap import Interval
from eap_plugin.circuits.evaluation.result import Evaluation, Point
from eap_plugin.model.edge_matrix import edge_mask, reader_feeds
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

SMALL = Graph(3, 4, 4)
GROUPED = Graph(2, 4, 2)


def scores(graph: Graph = SMALL, *, seed: int = 0, positions: int | None = None, **about: Any) -> PruneScores:
    """Return random scores, of which those of a few heads are large, as in real models."""
    random = torch.Generator().manual_seed(seed)
    shape = [len(graph.sources), len(graph.readers)]
    node = torch.rand(shape[0], generator=random) ** 4 + 0.02
    node[0] = 1
    feeds = reader_feeds(graph)
    reader = torch.stack([node[feeds[column]].amax() for column in range(shape[1] - 1)] + [torch.tensor(1.0)])
    size = torch.rand([*([] if positions is None else [positions]), *shape], generator=random) ** 2
    sign = torch.where(torch.rand(size.shape, generator=random) < 0.3, -1.0, 1.0)
    metadata = {"algorithm": "eap", "model": "gpt2", "task": "ioi", "metric": "logit_diff", "metric_unit": "logits"}
    return PruneScores(graph, size * sign * node[:, None] * reader * edge_mask(graph), metadata | about)


def evaluation(method: str = "top", sizes: tuple[int, ...] = (5, 20, 80), **about: Any) -> Evaluation:
    """Return an evaluation by absolute and by signed score, with intervals and random circuits."""
    points = tuple(
        Point(
            size=size, fraction=size / 262, signed=signed, n_edges=size, n_edges_ungrouped=size,
            weighted_edge_count=float(size), metric=torch.ones(2), faithfulness=0.1 * rank + 0.3 * signed,
            interval=Interval(0.1 * rank, 0.1 * rank + 0.4), random_faithfulness=torch.tensor([0.0, 0.1]),
            random_band=Interval(0.0, 0.1),
        )
        for signed in (False, True)
        for rank, size in enumerate(sizes, 1)
    )  # fmt: skip
    metadata = {"metric": "logit_diff", "evaluated": {"selection": {"method": method}, **about}}
    return Evaluation(points, torch.ones(2), torch.zeros(2), torch.zeros(2), metadata=metadata)


def data_of(html: str) -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def decoded(text: str, dtype: str) -> np.ndarray[Any, Any]:
    """Return an array that a page holds as base64."""
    return np.frombuffer(base64.b64decode(text), dtype)

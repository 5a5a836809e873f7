"""The integer linear program of the connected circuit of largest total score, solved by HiGHS.

Variables are 1 for what is in the circuit: x of an edge, y of a node (writer). For a size n and scores s,

    maximize Σ s_e x_e   with   Σ x_e ≤ n
    x_e ≤ y_w            for the writer w of edge e
    x_e ≤ Σ y_w          over the writers w computed from the reader of e, unless that is the logits
    y_w ≤ Σ x_e          over the edges e out of w
    y_w ≤ Σ x_e          over the edges e into readers that w is computed from, unless w is the embedding

For given nodes, each edge is among the edges out of one writer and among those into one, and the number of all edges is
limited: constraints whose extreme points are integers. So it suffices to require integers of the nodes, which makes the
program several times as fast. A k or v reader that heads share has edges into several writers; only if that leads to a
fraction of an edge is the program solved again with integers for edges, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.model.edge_matrix import edge_mask, reader_feeds
from eap_plugin.model.graph import Graph

TOLERANCE = 1e-6
"""The distance from an integer up to which a number counts as one, and the gap up to which a solution is optimal; the
solver's own tolerances are as large."""


@dataclass(frozen=True)
class Solution:
    """A solution of the program.

    Attributes:
        edges: the edges in the circuit.
        gap: the share of the largest total that may be missing; 0 if the solution is optimal.
    """

    edges: Bool[Tensor, "sources readers"]
    gap: float


def solve(
    graph: Graph, scores: Float[Tensor, "sources readers"], size: int, time_limit: float, gap: float
) -> Solution | None:
    """Solve the program.

    Args:
        graph: the graph.
        scores: what is added up.
        size: the largest number of edges.
        time_limit: seconds after which the best solution so far is taken.
        gap: the share of the largest total that may be missing.

    Returns:
        The solution; ``None`` if none is found in time.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows, columns = (part.numpy() for part in edge_mask(graph).nonzero(as_tuple=True))
    n_edges, n_nodes = len(rows), len(graph.sources)
    values = scores.numpy()[rows, columns]
    values = values / (np.abs(values).max() or 1)  # the solver's tolerances are absolute
    nothing = np.zeros(n_nodes)
    connected = LinearConstraint(_connections(graph, rows, columns), lb=0)
    few = LinearConstraint(np.concatenate([np.ones(n_edges), nothing])[None], ub=size)
    for edges_too in (False, True):
        found = milp(
            np.concatenate([-values, nothing]),
            integrality=np.concatenate([np.full(n_edges, int(edges_too)), np.ones(n_nodes)]),
            bounds=Bounds(0, 1),
            constraints=[connected, few],
            options={"time_limit": time_limit, "mip_rel_gap": gap},
        )
        if found.x is None:
            return None
        x = found.x[:n_edges]
        if np.abs(x - x.round()).max() <= TOLERANCE:
            break
    edges = torch.zeros(scores.shape, dtype=torch.bool)
    edges[rows, columns] = torch.from_numpy(x > 0.5)
    missing = found.fun - found.mip_dual_bound
    return Solution(edges, float(missing / -found.mip_dual_bound) if missing > TOLERANCE else 0.0)


def _connections(graph: Graph, rows: Any, columns: Any) -> Any:
    """Return a sparse matrix A, [constraints, edges + nodes], with which A (x, y) ≥ 0 says that all are connected."""
    import numpy as np
    from scipy import sparse

    feeds = sparse.csr_array(reader_feeds(graph).double().numpy())
    into = feeds.T.tocsr()[:, columns]
    out = sparse.csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=into.shape)
    edge = sparse.identity(len(rows), format="csr")
    node = sparse.identity(len(graph.sources), format="csr")
    inner = columns != len(graph.readers) - 1
    blocks = [[-edge, out.T], [-edge[inner], into.T.tocsr()[inner]], [out, -node], [into[1:], -node[1:]]]
    return sparse.bmat(blocks, format="csr")

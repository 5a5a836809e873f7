"""Compare scores or circuits: with each other, with their own halves, or with a circuit that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.api.circuits import select
from eap_plugin.api.files import load, load_circuit
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.comparison.ground_truth import Recovery, mib_sizes, recovery
from eap_plugin.circuits.comparison.pairwise import PairwiseComparison
from eap_plugin.circuits.comparison.stability import Stability, stability
from eap_plugin.circuits.comparison.two_circuits import CircuitComparison, compare_circuits
from eap_plugin.circuits.comparison.two_scores import ScoreComparison, compare_scores
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.errors import UsageError
from eap_plugin.files import read_bytes
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

Comparable = Scores | Circuit
Compared = ScoreComparison | CircuitComparison | PairwiseComparison | Stability


def compare(
    *things: Comparable | str | Path,
    names: Sequence[str] | None = None,
    k: Sequence[int] | None = None,
    seed: int = 0,
) -> Compared:
    """Compare scores of one graph, or circuits of one graph; those of a single one, by halves of its prompts.

    Args:
        *things: scores or circuits, or their files. Scores kept per position are summed over positions first.
        names: a name for each; by default, the file's, or what its metadata say.
        k: how many of the largest absolute scores to compare; by default 10, 50 and 100, as far as there are more.
        seed: seed of the random halves of a single one, which must be scores kept by group of prompts.

    Returns:
        A ``Stability`` for a single one, a ``ScoreComparison`` or ``CircuitComparison`` for two, and a
        ``PairwiseComparison`` for more. Each has a ``table()`` and a ``to_dict()``.

    Raises:
        UsageError: if they cannot be compared.
    """
    if not things:
        raise UsageError("there is nothing to compare; give one or more scores, or circuits")
    labels, found = _labels(things, names), [_read(thing) for thing in things]
    scores = [thing for thing in found if not isinstance(thing, Circuit)]
    circuits = [thing for thing in found if isinstance(thing, Circuit)]
    if scores and circuits:
        raise UsageError(
            "scores and circuits cannot be compared with each other; select a circuit from the scores first, or give "
            "the circuit as the known one (compare_with_truth, eap compare --truth)"
        )
    if circuits and k is not None:
        raise UsageError("k is how many of the largest scores to compare, but these are circuits; leave it out")
    if len(found) == 1:
        if circuits:
            raise UsageError("a single circuit cannot be compared with itself; give two or more")
        return stability(scores[0], labels[0], k, seed=seed)
    pairs: dict[tuple[int, int], ScoreComparison | CircuitComparison] = {}
    for i, j in combinations(range(len(found)), 2):
        both = labels[i], labels[j]
        pairs[i, j] = (
            compare_circuits(circuits[i], circuits[j], both)
            if circuits
            else compare_scores(scores[i], scores[j], both, k)
        )
    return pairs[0, 1] if len(found) == 2 else PairwiseComparison(tuple(labels), pairs)


def compare_with_truth(
    scores: PruneScores | str | Path,
    truth: Circuit | Iterable[str] | str | Path,
    *,
    name: str | None = None,
    k: Sequence[int] | None = None,
) -> Recovery:
    """Measure how well the absolute scores of edges tell a known circuit from the other edges.

    Args:
        scores: the scores, or their file. Those kept per position are summed over positions first.
        truth: the known circuit, the names of its edges, or a file: of a circuit, or a text with an edge in each line.
        name: a name for the scores.
        k: for how many of the largest scores to give precision and recall; by default for as many as the circuit has
            edges, and for 10, 50 and 100.

    Raises:
        UsageError: if the scores are not of edges, or the circuit is not of the same graph, or has no or all edges.
    """
    found = _read(scores)
    if not isinstance(found, PruneScores):
        what = "a circuit" if isinstance(found, Circuit) else f"scores of {found.level}s"
        raise UsageError(f"a known circuit consists of edges, so it needs scores of edges to compare with; got {what}")
    flat = found.sum_positions()
    curve = [select(flat, edges=size, method="greedy").edges for size in mib_sizes(flat.n_edges)]
    return recovery(flat, _known_edges(truth, flat.graph), name or _labels([scores], None)[0], k, curve)


def _read(thing: Comparable | str | Path) -> Comparable:
    if not isinstance(thing, (str, Path)):
        return thing
    return load(thing).main


def _labels(things: Sequence[object], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [str(thing) if isinstance(thing, (str, Path)) else _origin(thing) for thing in things]
    if len(names) != len(things):
        raise UsageError(f"give a name for each of the {len(things)} to compare; got {len(names)} names")
    return list(names)


def _origin(thing: object) -> str:
    """Return where scores or a circuit come from, by their metadata."""
    about = getattr(thing, "metadata", {})
    parts = [str(about[key]) for key in ("algorithm", "model", "task") if key in about]
    return ", ".join(parts) or repr(thing)


def _known_edges(truth: Circuit | Iterable[str] | str | Path, graph: Graph) -> Bool[Tensor, "sources readers"]:
    if isinstance(truth, (str, Path)):
        truth = load_circuit(truth) if Path(truth).suffix == ".json" else _lines(Path(truth))
    if isinstance(truth, Circuit):
        if truth.graph != graph:
            raise UsageError(f"the known circuit is of another graph: {truth.graph}; the scores are of {graph}")
        return truth.edges
    edges = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool)
    for edge in truth:
        edges[graph.edge(edge)] = True
    return edges


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file that are neither empty nor start with ``#``."""
    try:
        lines = [line.strip() for line in read_bytes(path).decode().splitlines()]
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a text file; give a circuit, or a text with an edge in each line") from None
    return [line for line in lines if line and not line.startswith("#")]

"""The kinds of figures, and which kind suits what is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.circuits.select import select_circuit
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.circuits.selection.top import Top
from eap_plugin.display.plots.circuit import circuit_figure
from eap_plugin.display.plots.faithfulness import evaluation_name, faithfulness_figure
from eap_plugin.display.plots.heat_map import heat_map_figure
from eap_plugin.display.plots.kinds import KINDS
from eap_plugin.display.plots.nodes import nodes_figure
from eap_plugin.display.plots.positions import positions_figure
from eap_plugin.display.plots.scatter import scatter_figure
from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.results.prune_scores import PruneScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plottable = Scores | Circuit | Evaluation
"""What can be drawn."""

DRAWN_EDGES = 50
"""The number of the strongest edges that are drawn as a circuit from scores, by default."""


def figure_of(
    things: Sequence[Plottable],
    names: Sequence[str] | None = None,
    kind: str | None = None,
    *,
    style: str | Path = "paper",
    width: str | float | None = None,
    edges: int | None = None,
    signed: bool | None = None,
    tokens: Sequence[str] | None = None,
) -> Figure:
    """Draw a figure; the arguments are those of ``eap_plugin.plot``, with results for files.

    Raises:
        UsageError: if the kind does not suit what is given, or an argument the kind.
        EapPluginError: if matplotlib is not installed.
    """
    kind = inferred_kind(things) if kind is None else kind
    if kind not in KINDS:
        raise unknown_name("kind of figure", kind, KINDS)
    _check_options(kind, {"edges": edges, "signed": signed, "tokens": tokens})
    look: dict[str, Any] = {"style": style} | ({} if width is None else {"width": width})
    if kind == "faithfulness":
        found = [thing for thing in things if isinstance(thing, Evaluation)]
        _require(kind, things, len(found) == len(things) >= 1, "one or more evaluations, which eap evaluate writes")
        labels = [evaluation_name(thing) for thing in found] if names is None else names
        return faithfulness_figure(found, labels, signed=signed, **look)
    if kind == "scatter":
        scores = [thing for thing in things if not isinstance(thing, Circuit | Evaluation)]
        _require(kind, things, len(scores) == len(things) == 2, "two files of scores")
        labels = [str(thing.metadata.get("algorithm", "scores")) for thing in scores] if names is None else names
        return scatter_figure(scores[0], scores[1], labels, **look)
    _require(kind, things, len(things) == 1, "one file")
    [thing] = things
    if kind == "circuit":
        return circuit_figure(drawn_circuit(thing, edges), **look)
    if kind == "scores" and isinstance(thing, PruneScores):
        return heat_map_figure(thing, **look)
    if kind == "scores" or isinstance(thing, Circuit | Evaluation):
        raise UsageError(f"a figure of the kind {kind} needs scores{' of edges' * (kind == 'scores')}")
    if kind == "positions":
        return positions_figure(thing, tokens, **look)
    return nodes_figure(thing, **look)


def inferred_kind(things: Sequence[Plottable]) -> str:
    """Return the kind of figure that suits what is given.

    Raises:
        UsageError: if there is nothing, or no kind that all of it suits.
    """
    if things and all(isinstance(thing, Evaluation) for thing in things):
        return "faithfulness"
    if len(things) == 2 and not any(isinstance(thing, Circuit | Evaluation) for thing in things):
        return "scatter"
    if len(things) != 1:
        raise UsageError("no figure shows all of these; give evaluations, two files of scores, or one file")
    if isinstance(things[0], Circuit):
        return "circuit"
    return "scores" if isinstance(things[0], PruneScores) else "nodes"


def drawn_circuit(thing: Plottable, edges: int | None = None) -> Circuit:
    """Return a circuit, or from scores the ``edges`` strongest edges by absolute score, connected or not.

    Raises:
        UsageError: if these are not scores of edges or a circuit, or the size is given for a circuit.
    """
    if isinstance(thing, Circuit):
        if edges is not None:
            raise UsageError("the circuit has its edges already; leave out the number of edges, or give scores")
        return thing
    if not isinstance(thing, PruneScores):
        raise UsageError("a figure of the kind circuit needs a circuit, or scores of edges to select one from")
    flat, method = thing.sum_positions(), Top()
    size = min(DRAWN_EDGES if edges is None else edges, flat.n_edges)
    return select_circuit(flat, size, method, method.options(), prune=False)


def _require(kind: str, things: Sequence[Plottable], fits: bool, wanted: str) -> None:
    if not fits:
        raise UsageError(f"a figure of the kind {kind} needs {wanted}; got {len(things)} of other kinds or numbers")


def _check_options(kind: str, given: dict[str, Any]) -> None:
    """Check that no option is given that this kind of figure has no use for."""
    use = {"edges": "circuit", "signed": "faithfulness", "tokens": "positions"}
    for name, value in given.items():
        if value is not None and use[name] != kind:
            raise UsageError(f"{name} is for figures of the kind {use[name]}, not {kind}; leave it out")

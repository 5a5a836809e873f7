"""Circuits as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from rich.table import Table

from eap_plugin.cli.output import number, numbers, percent, table
from eap_plugin.results.score_unit import with_unit

if TYPE_CHECKING:
    from eap_plugin.circuits.circuit import Circuit


def selection_facts(circuit: Circuit) -> dict[str, str]:
    """Return how a circuit was selected and what it contains, by label."""
    about, found = (circuit.metadata.get(name) for name in ("selection", "found"))
    made = {**(_selected(about) if _complete(about) else {}), "circuit": _content(circuit)}
    return made | _found(found) if _complete_search(found) else made


def _complete(about: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether this is the record of a selection; a file from elsewhere may have anything in its place."""
    return (
        isinstance(about, Mapping)
        and all(type(about.get(name)) is int for name in ("size", "selected", "kept"))
        and all(isinstance(about.get(name), Mapping) for name in ("options", "notes"))
        and {"method", "level", "signed", "pruned"} <= set(about)
    )


def _complete_search(found: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether this is the record of a search; a file from elsewhere may have anything in its place."""
    if not isinstance(found, Mapping) or not isinstance(found.get("measured"), list) or "held_out" not in found:
        return False
    interval = found.get("interval") or [0.0, 0.0]
    if not isinstance(interval, list) or len(interval) != 2:
        return False
    shares = [found.get("wanted"), found.get("faithfulness"), found.get("on_scored", 0.0), *interval]
    counts = [found.get("n_prompts"), found.get("n_larger_short")]
    return all(isinstance(share, float | int) for share in shares) and all(isinstance(count, int) for count in counts)


def _selected(about: Mapping[str, Any]) -> dict[str, str]:
    unit = f"{about['level']}s"
    how = "score" if about["signed"] else "absolute score"
    options = "".join(f", {name} {value}" for name, value in about["options"].items())
    texts = {
        "method": f"{about['method']}, by {how}{options}",
        "selected": f"{about['selected']:,} {unit}",
    }
    if about["selected"] < about["size"]:
        texts["selected"] += f" of at most {about['size']:,}"
    if about["pruned"]:
        removed = about["selected"] - about["kept"]
        texts["pruned"] = f"{removed:,} that are on no path from the embedding to the logits" if removed else "nothing"
    return texts | {name: _note(value) for name, value in about["notes"].items()}


def _found(about: Mapping[str, Any]) -> dict[str, str]:
    """Return how faithful a circuit is that was searched for, and how thorough the search was."""
    interval = about["interval"]
    text = f"{about['faithfulness']:.3f}"
    if interval:
        text += f" (95 %: {interval[0]:.3f} to {interval[1]:.3f})"
    text += f" on {about['n_prompts']:,} {'held-out' if about['held_out'] else 'scored'} prompt pairs"
    texts = {"wanted": f"faithfulness {about['wanted']:g}", "faithfulness": text}
    if about["held_out"] and "on_scored" in about:
        texts["when scored"] = f"{about['on_scored']:.3f} on the prompt pairs that were scored"
    texts["search"] = f"{len(about['measured'])} sizes measured: no smaller one is as faithful as wanted"
    if about["n_larger_short"]:
        texts["not rising"] = f"of the larger sizes measured, {about['n_larger_short']} fall short"
    return texts


def _note(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return number(value).lstrip("+") if isinstance(value, float) else str(value)


def _content(circuit: Circuit) -> str:
    n_edges = circuit.n_edges
    text = f"{n_edges:,} of {circuit.graph.n_edges:,} edges ({percent(n_edges / circuit.graph.n_edges)})"
    text += f", {len(circuit.nodes):,} of {len(circuit.graph.sources):,} nodes"
    return text if circuit.neurons is None else f"{text}, {int(circuit.neurons.sum()):,} neurons"


def empty_advice(circuit: Circuit) -> str:
    """Return what to do if pruning left nothing of what was selected; otherwise an empty string."""
    about = circuit.metadata["selection"]
    if circuit.n_edges or not about["selected"]:
        return ""
    others = ", or use --method greedy or ilp" if about["level"] == "edge" else ""
    return f"Nothing selected is connected; select more{others}"


def circuit_table(circuit: Circuit, k: int) -> Table:
    """Return a table of the ``k`` strongest edges; of the first ``k`` nodes, if edges have no scores."""
    if circuit.scores is not None:
        edges = circuit.top(k)
        scores = numbers([edge.score for edge in edges])
        scored = [(edge.name, score) for edge, score in zip(edges, scores, strict=True)]
        return table(("Edge", with_unit("Score", circuit.metadata)), scored)
    columns, counts = ["Node", "Edges out"], [circuit.edges.sum(1)]
    if circuit.neurons is not None:
        columns, counts = [*columns, "Neurons"], [*counts, circuit.neurons.sum(1)]
    rows = [(name, *(f"{int(count[circuit.graph.rows[name]]):,}" for count in counts)) for name in circuit.nodes[:k]]
    return table(columns, rows, right=columns[1:])


def circuit_json(circuit: Circuit, k: int) -> dict[str, Any]:
    """Return a circuit as plain values: what it contains, and its strongest edges if they have scores."""
    return {
        "metadata": circuit.metadata,
        "graph": circuit.graph.to_dict(),
        "n_edges": circuit.n_edges,
        "n_edges_ungrouped": circuit.n_edges_ungrouped,
        "weighted_edge_count": circuit.weighted_edge_count,
        "nodes": circuit.nodes,
        "edges": []
        if circuit.scores is None
        else [{name: value for name, value in edge._asdict().items() if value is not None} for edge in circuit.top(k)],
    }

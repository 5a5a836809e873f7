"""DOT files, which Graphviz draws."""

from __future__ import annotations

import re
from pathlib import Path

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.files import read_text, write_whole
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.networkx_graph import edges_only, graph_losses, inner_edges
from eap_plugin.score_format.table import KEY, contents_of, header_of, parse_header, rows_of

_MARK = f"// {KEY} "
_EDGE = re.compile(r'  "([^"\\]+)" -> "([^"\\]+)" \[(?:score="([^"\\]+)", )?(?:penwidth|style)=.*\];')
_WIDEST = 4.0


class Dot(ScoreFormat):
    """A DOT file: the wider an edge, the larger its score; edges with a negative score are red."""

    name = "dot"
    summary = "a graph for Graphviz"
    suffixes = (".dot", ".gv")

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + graph_losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        first, _, rest = read_text(path).partition("\n")
        if not first.startswith(_MARK):
            raise UsageError(f"{path}, line 1: not written by this package, which reads no other DOT files")
        rows = []
        for line, text in enumerate(rest.splitlines(), start=2):
            found = _EDGE.fullmatch(text)
            if found is not None and "style=dotted" not in text:
                rows.append((f"{found[1]}->{found[2]}", None, None if found[3] is None else _number(found[3], line)))
        return contents_of(parse_header(first.removeprefix(_MARK), len(rows)), rows, graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        results = edges_only(results)
        flat = results if isinstance(results, Circuit) else results.sum_positions()
        rows = [(name.split("->"), score) for name, _, score in rows_of(flat)]
        largest = max((abs(score) for _, score in rows if score is not None), default=0.0) or 1.0
        lines = [f"{_MARK}{header_of(flat).to_json()}", "digraph {", "  rankdir=BT;", "  node [shape=box];"]
        for (source, reader), score in rows:
            width = _WIDEST if score is None else max(0.2, _WIDEST * abs(score) / largest)
            known = "" if score is None else f"score={_quoted(repr(score))}, "
            color = ", color=red" if score is not None and score < 0 else ""
            lines.append(f"  {_quoted(source)} -> {_quoted(reader)} [{known}penwidth={width:.2f}{color}];")
        names = {name for ends, _ in rows for name in ends}
        for source, head in inner_edges(flat.graph, names):
            lines.append(f"  {_quoted(source)} -> {_quoted(head)} [style=dotted];")
        write_whole(path, ("\n".join([*lines, "}"]) + "\n").encode())


def _quoted(text: str) -> str:
    """Return a quoted identifier of the DOT language, in which only quotation marks are special."""
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def _number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"line {line}: the score {text[:60]!r} is not a number") from None

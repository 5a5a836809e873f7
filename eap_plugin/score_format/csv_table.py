"""CSV files with one row for each score, or for each edge of a circuit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from eap_plugin.errors import UsageError, shown
from eap_plugin.files import read_text, write_whole
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.inference import header_from_names
from eap_plugin.score_format.table import KEY, contents_of, header_of, parse_header, rows_of

_MARK = f"# {KEY} "
_KINDS = ("edge", "node", "neuron")


class Csv(ScoreFormat):
    """A CSV file of scores, with the header as a comment in its first line.

    Files of other origin need the columns ``edge`` (such as ``m0->logits``) and ``score``, and a row for every edge.
    """

    name = "csv"
    summary = "a table with a row for each score, or for each edge of a circuit"
    suffixes = (".csv",)
    holds = ("edge", "node", "neuron", "circuit")

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + neurons_lost(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        first, _, rest = read_text(path).partition("\n")
        marked = first.startswith(_MARK)
        rows = list(_rows(rest if marked else f"{first}\n{rest}", 1 + marked))
        header = parse_header(first.removeprefix(_MARK), len(rows)) if marked else header_from_names(rows)
        return contents_of(header, rows, graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        header = header_of(results)
        out = io.StringIO()
        out.write(f"{_MARK}{header.to_json()}\n")
        writer = csv.writer(out, lineterminator="\n")
        positions = ["position"] if header.n_positions is not None else []
        writer.writerow([header.column, *positions, "score"])
        for name, position, score in rows_of(results):
            writer.writerow([name, *([position] if positions else []), "" if score is None else repr(score)])
        write_whole(path, out.getvalue().encode())


def neurons_lost(results: Exportable) -> list[str]:
    """Return what tables of edges cannot hold of a circuit."""
    return ["which neurons of each writer are kept"] if getattr(results, "neurons", None) is not None else []


def _rows(text: str, line: int) -> Iterator[tuple[str, int | None, float | None]]:
    """Yield name, position and score of each row; ``line`` is the number of the first line of ``text``."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or []
        kind = next((column for column in _KINDS if column in columns), None)
        if kind is None or "score" not in columns:
            raise UsageError(f"line {line}: there must be columns edge (or node, or neuron) and score")
        for row in reader:
            where = f"line {line - 1 + reader.line_num}"
            position = row.get("position")
            if row[kind] is None or row["score"] is None:
                raise UsageError(f"{where}: the row is too short")
            yield row[kind], None if position is None else _position(position, where), _score(row["score"], where)
    except csv.Error as error:
        raise UsageError(f"line {line - 1 + reader.line_num}: not CSV ({error})") from error


def _position(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{where}: the position must be a whole number, got {shown(text)}")
    return int(text)


def _score(text: str, where: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise UsageError(f"{where}: the score must be a number, got {shown(text)}") from None

"""Parquet files with one row for each score, or for each edge of a circuit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.files import read_bytes, write_whole
from eap_plugin.lazy import optional
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.csv_table import neurons_lost
from eap_plugin.score_format.table import KEY, contents_of, header_of, parse_header, rows_of

_BATCH = 65_536


class Parquet(ScoreFormat):
    """A Parquet file of scores, with the header in the metadata of its schema."""

    name = "parquet"
    summary = "the same table as csv, in Parquet (needs pyarrow)"
    suffixes = (".parquet",)
    holds = ("edge", "node", "neuron", "circuit")

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + neurons_lost(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        data = read_bytes(path)
        parquet = optional("pyarrow.parquet", "a Parquet file")
        try:
            file = parquet.ParquetFile(io.BytesIO(data))
        except Exception as error:
            raise UsageError(f"{path} is not a Parquet file, or is damaged") from error
        text = (file.schema_arrow.metadata or {}).get(KEY.encode())
        if text is None:
            raise UsageError(f"{path} has no header of this package; read a table of other origin as CSV")
        if file.metadata.num_rows > len(data):
            raise UsageError(f"{path} claims {file.metadata.num_rows} rows, more than it has data for")
        header = parse_header(text.decode(), file.metadata.num_rows)
        columns = [header.column, *(["position"] if header.n_positions is not None else []), "score"]
        try:
            return contents_of(header, _rows(file, columns), graph)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"{path}: the columns {', '.join(columns)} cannot be read") from error

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        parquet, arrow = optional("pyarrow.parquet", "a Parquet file"), optional("pyarrow", "a Parquet file")
        header = header_of(results)
        rows = list(rows_of(results))
        columns: dict[str, Any] = {header.column: arrow.array([name for name, _, _ in rows], arrow.string())}
        if header.n_positions is not None:
            columns["position"] = arrow.array([position for _, position, _ in rows], arrow.int32())
        columns["score"] = arrow.array([score for _, _, score in rows], arrow.float64())
        out = io.BytesIO()
        parquet.write_table(arrow.table(columns).replace_schema_metadata({KEY: header.to_json()}), out)
        write_whole(path, out.getvalue())


def _rows(file: Any, columns: list[str]) -> Iterator[tuple[str, int | None, float | None]]:
    """Yield name, position and score of each row."""
    for batch in file.iter_batches(_BATCH, columns=columns):
        values = [batch.column(column).to_pylist() for column in columns]
        names, scores = values[0], values[-1]
        positions = values[1] if len(columns) == 3 else [None] * len(names)
        yield from zip(names, positions, scores, strict=True)

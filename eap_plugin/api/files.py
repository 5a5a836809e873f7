"""Read and write scores and circuits in any registered format."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from eap_plugin.api.registries import score_formats
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.errors import UsageError
from eap_plugin.host.registry import Registry
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat, described, kind_of
from eap_plugin.score_format.detection import format_of, read_contents


def load_scores(path: str | Path, format: str | None = None, graph: Graph | None = None) -> Scores:
    """Read scores of edges, nodes or neurons from a file of any known format.

    Args:
        path: the file, or a folder in the format ``mib``.
        format: the name of the format (see ``score_formats()``); by default it is recognized.
        graph: the model's graph, if you know it. Files of other tools have a k and a v reader for each query head; with
            the graph of a model with grouped-query attention, their scores are summed over each group. A file of any
            other graph is an error.

    Returns:
        The scores. Those of EAP-IG's files are per prompt, as ``scale`` in their metadata says: multiply them by the
        number of prompts to compare them with ours.

    Raises:
        UsageError: if the file is missing, damaged, in no known format or of another graph, or has a circuit only.
        EapPluginError: if it cannot be read.
    """
    contents = load(path, format, graph)
    if contents.scores is None:
        raise UsageError(f"{path} has a circuit without the scores of all edges; read it with load_circuit")
    return contents.scores


def load_circuit(path: str | Path, format: str | None = None, graph: Graph | None = None) -> Circuit:
    """Read a circuit from a file of any known format; ``Circuit.load`` reads this package's own only.

    Args:
        path: the file.
        format: the name of the format (see ``score_formats()``); by default it is recognized.
        graph: the model's graph, if you know it. With the graph of a model with grouped-query attention, a circuit with
            a k and v reader for each query head must have all or none of each group.

    Raises:
        UsageError: if the file is missing, damaged, in no known format or of another graph, or has scores only.
        EapPluginError: if it cannot be read.
    """
    contents = load(path, format, graph)
    if contents.circuit is None:
        raise UsageError(f"{path} has scores, not a circuit; select one from them with select or eap circuit")
    return contents.circuit


def load(path: str | Path, format: str | None = None, graph: Graph | None = None) -> Contents:
    """Read whatever a file of any known format has; the arguments and errors are those of ``load_scores``."""
    path, formats = Path(path), score_formats()
    chosen = formats[format] if format is not None else format_of(path, _usable(formats))
    return read_contents(path, chosen, graph)


def export(results: Exportable, path: str | Path, *, format: str, **about: Any) -> None:
    """Write scores or a circuit to a file in any registered format.

    A warning says what the format cannot hold, before anything is written; ``score_formats()[format].losses(results)``
    says it without writing.

    Args:
        results: the scores or the circuit.
        path: the file, or a folder in the formats of MIB.
        format: the name of the format; see ``score_formats()``.
        **about: what the format needs and the provenance lacks: ``d_model``, the width of the residual stream;
            ``n_prompts``, the number of prompts that scores were computed from; ``tokens``, a text for each position.

    Raises:
        UsageError: if there is no such format, it cannot hold such results, or something that it needs is missing.
        EapPluginError: if the file cannot be written.
    """
    chosen, ready = exportable(results, format, **about)
    for loss in chosen.losses(ready):
        warnings.warn(f"the format {format} does not keep {loss}", stacklevel=2)
    chosen.write(ready, Path(path))


def exportable(results: Exportable, format: str, **about: Any) -> tuple[ScoreFormat, Exportable]:
    """Return the format, and the results with what it needs to know; arguments and errors are those of ``export``."""
    chosen = score_formats()[format]
    kind = kind_of(results)
    if kind not in chosen.holds:
        held = " or ".join(described(one) for one in chosen.holds)
        raise UsageError(f"the format {format} holds {held}, not {described(kind)}")
    unknown = set(about) - {"d_model", "n_prompts", "tokens"}
    if unknown:
        raise UsageError(f"export takes d_model, n_prompts and tokens, not {' and '.join(sorted(unknown))}")
    given = {name: value for name, value in about.items() if value is not None}
    return chosen, replace(results, metadata=results.metadata | given)


def _usable(formats: Registry[ScoreFormat]) -> dict[str, ScoreFormat]:
    """Return the formats by name."""
    return {name: formats[name] for name in formats}

"""Attribution graphs as Neuronpedia and circuit-tracer show them: JSON of nodes by layer and position, and links.

Source: the JSON schema that Neuronpedia checks graphs by (github.com/hijohnnylin/neuronpedia). There is one node for
each writer and position, and for the logits; with scores that are not kept per position, all are at the last position.
A link is an edge with its score; links of one head's q, k and v inputs are told apart by the further field ``reader``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError, shown
from eap_plugin.files import finite, parse_json, read_text, write_whole
from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import LARGEST, stored_edge
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat, require_graph
from eap_plugin.score_format.csv_table import neurons_lost
from eap_plugin.score_format.detection import json_opening
from eap_plugin.score_format.grouping import regroup_circuit, split_groups, sum_groups, ungroup_circuit
from eap_plugin.score_format.networkx_graph import edges_only
from eap_plugin.score_format.table import DTYPES, KEY, Header, header_from, header_of

_URL = "https://pypi.org/project/eap-plugin/"
_TYPES = {"input": "embedding", "head": "attention head", "mlp": "mlp", "logits": "logit"}
_SLOT = re.compile(r"<[qkv]>$")
_ID = re.compile(r"(E|\d{1,6})_(\d{1,6})_(\d{1,6})")


class Neuronpedia(ScoreFormat):
    """A graph that Neuronpedia and circuit-tracer's viewer show."""

    name = "neuronpedia"
    summary = "an attribution graph for Neuronpedia and circuit-tracer"
    suffixes = (".json",)

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        openings = (("metadata", "{"), ("qParams", "{"), ("nodes", "["), ("links", "["))
        return super().recognizes(path) and json_opening(path) in openings

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + neurons_lost(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        document = parse_json(read_text(path), str(path))
        metadata, links = (_part(document, name, kind) for name, kind in (("metadata", dict), ("links", list)))
        if KEY not in metadata:
            raise UsageError(f"{path} has nodes that this package did not write, such as features of transcoders")
        header = header_from(metadata[KEY], None)
        require_graph(header.graph, graph)
        return _contents(header, links)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        write_whole(path, json.dumps(document_of(edges_only(results)), indent=1).encode())


def document_of(results: PruneScores | Circuit) -> dict[str, Any]:
    """Return the JSON document of an attribution graph; scores of zero have no link."""
    header = header_of(results)
    graph, about = ungrouped(results.graph), results.metadata
    tokens = _tokens(about, header.n_positions)
    end = len(tokens) - 1
    nodes: dict[str, dict[str, Any]] = {}
    links = []
    for position, row, column, weight in _weights(results):
        ctx = end if header.n_positions is None else position
        source, reader = graph.sources[row], graph.reader_name(graph.readers[column])
        ends = [_node(graph, name, ctx) for name in (source, _SLOT.sub("", reader))]
        nodes.update((node["node_id"], node) for node in ends)
        first, last = (node["node_id"] for node in ends)
        links.append({"source": first, "target": last, "weight": weight, "reader": reader})
    words = [str(about.get(name, "")) for name in ("algorithm", "task", "model")]
    pinned = list(nodes) if isinstance(results, Circuit) else []
    return {
        "metadata": {
            "slug": re.sub(r"[^a-z0-9]+", "-", " ".join(filter(None, words)).lower()).strip("-") or "scores",
            "scan": str(about.get("model", "")),
            "prompt_tokens": tokens,
            "prompt": "".join(tokens),
            "info": {"generator": {"name": "eap-plugin", "version": eap_plugin.__version__, "url": _URL}},
            "generation_settings": {
                name: str(about[name]) for name in ("algorithm", "metric", "task") if name in about
            },
            KEY: header.to_dict(),
        },
        "qParams": {"pinnedIds": pinned, "supernodes": [], "linkType": "both", "clickedId": ""},
        "nodes": list(nodes.values()),
        "links": links,
    }


def _weights(results: PruneScores | Circuit) -> Iterator[tuple[int, int, int, float]]:
    """Yield position, row, column and weight of each link; edges of a circuit without scores weigh one."""
    if isinstance(results, Circuit):
        circuit = ungroup_circuit(results)
        for row, column in circuit.edges.nonzero().tolist():
            yield 0, row, column, 1.0 if circuit.scores is None else float(circuit.scores[row, column])
        return
    matrix = split_groups(results.graph, results.matrix.detach().cpu())
    matrix = matrix if results.has_positions else matrix[None]
    for position, row, column in matrix.nonzero().tolist():
        yield position, row, column, float(matrix[position, row, column])


def _contents(header: Header, links: list[Any]) -> Contents:
    """Return the scores or the circuit that the links give."""
    graph, n_positions = ungrouped(header.graph), header.n_positions or 1
    shape = (n_positions, len(graph.sources), len(graph.readers))
    if math.prod(shape) > LARGEST:
        raise UsageError(f"scores of the shape {list(shape)} are more than can be read from such a file")
    matrix = torch.zeros(shape, dtype=DTYPES[header.dtype])
    edges = torch.zeros(shape[1:], dtype=torch.bool)
    for index, link in enumerate(links):
        where = f"links[{index}]"
        if not isinstance(link, dict):
            raise UsageError(f"{where} must be an object, got {shown(link)}")
        source, ctx = _writer(graph, link.get("source"), where)
        position = 0 if header.n_positions is None else ctx
        if position >= n_positions:
            raise UsageError(f"{where}: there is no position {position}")
        row, column = stored_edge(graph, f"{source}->{link.get('reader')}")
        matrix[position, row, column] = finite(link.get("weight"), f"{where}: weight")
        edges[row, column] = True
    if header.kind != "circuit":
        found = matrix if header.n_positions is not None else matrix[0]
        return Contents(PruneScores(header.graph, sum_groups(header.graph, found), header.metadata))
    return Contents(circuit=regroup_circuit(Circuit(graph, edges, None, matrix[0], header.metadata), header.graph))


def _node(graph: Graph, name: str, ctx: int) -> dict[str, Any]:
    """Return the node of a writer or the logits at a position."""
    if name == "logits":
        kind, layer, feature = "logits", str(graph.n_layers + 1), 0
    else:
        kind, number, head = graph.writer(graph.rows[name])
        layer = "E" if kind == "input" else str(number)
        feature = graph.n_heads if kind == "mlp" else head
    prefix = {"logits": "L_0"}.get(kind, f"{layer}_{feature}")
    return {
        "node_id": f"{layer}_{feature}_{ctx}",
        "feature": feature,
        "layer": layer,
        "ctx_idx": ctx,
        "feature_type": _TYPES[kind],
        "jsNodeId": f"{prefix}-{ctx}",
        "clerp": name,
    }


def _writer(graph: Graph, node_id: object, where: str) -> tuple[str, int]:
    """Return the writer and the position of a node, from its identifier."""
    found = _ID.fullmatch(node_id) if isinstance(node_id, str) else None
    if found is None:
        raise UsageError(f"{where}: {shown(node_id)} is not a node of a writer")
    layer, feature, ctx = found.groups()
    if layer == "E":
        return "input", int(ctx)
    return f"m{layer}" if int(feature) == graph.n_heads else f"a{layer}.h{feature}", int(ctx)


def _tokens(about: dict[str, Any], n_positions: int | None) -> list[str]:
    """Return a text for each position: the tokens, if they are known."""
    tokens = about.get("tokens")
    if isinstance(tokens, list) and tokens and n_positions in (None, len(tokens)):
        return [str(token) for token in tokens]
    return ["(all positions)"] if n_positions is None else [f"(position {index})" for index in range(n_positions)]


def _part(document: object, name: str, kind: type) -> Any:
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, kind):
        raise UsageError(f"{name} must be {'a list' if kind is list else 'an object'}")
    return found

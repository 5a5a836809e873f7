"""AutoCircuit's ``PruneScores``: a dict from the names of reader modules to tensors, saved with ``torch.save``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError, shown
from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import stored_graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.storage import check_finite
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.grouping import regroup_scores, split_groups
from eap_plugin.score_format.torch_file import load_torch_file, pickled_text, save_torch_file

_MODULE = re.compile(r"blocks\.(\d{1,6})\.(hook_[qkv]_input|hook_attn_in|hook_mlp_in|hook_resid_post)")


class AutoCircuitPt(ScoreFormat):
    """The scores that AutoCircuit's algorithms return, on the same scale as ours."""

    name = "autocircuit"
    summary = "AutoCircuit's PruneScores, as tensors"
    suffixes = (".pt", ".pth")
    holds = ("edge",)

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return super().recognizes(path) and b".hook_resid_post" in pickled_text(path)

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        lost = [*super().losses(results), "the provenance"]
        if results.graph.n_kv_heads < results.graph.n_heads:
            lost.append(
                "key/value heads of several query heads: their scores are split into equal shares, one for each"
            )
        return lost

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        modules = load_torch_file(path)
        found = PruneScores.from_dict(_graph(modules), modules)
        check_finite(found.matrix)
        scores = PruneScores(found.graph, found.matrix, {"format": "AutoCircuit"})
        return Contents(scores if graph == found.graph else regroup_scores(scores, graph))

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        if not isinstance(results, PruneScores):
            what = "a circuit" if isinstance(results, Circuit) else f"scores of {results.level}s"
            raise UsageError(f"AutoCircuit's files hold scores of edges, not {what}")
        shares = PruneScores(ungrouped(results.graph), split_groups(results.graph, results.matrix.detach().cpu()))
        save_torch_file({module: part.clone().contiguous() for module, part in shares.items()}, path)


def _graph(modules: dict[str, Any]) -> Graph:
    """Return the graph that has these modules, from their names and shapes.

    Raises:
        UsageError: if they are not those of a model's readers.
    """
    shapes: dict[tuple[int, str], list[int]] = {}
    for name, value in modules.items():
        found = _MODULE.fullmatch(name)
        if found is None or not isinstance(value, Tensor):
            raise UsageError(f"{shown(name)} is not a reader's module with a tensor of scores")
        shapes[int(found[1]), found[2]] = list(value.shape)
    n_layers = 1 + max((layer for layer, _ in shapes), default=0)
    summed = (0, "hook_attn_in") in shapes
    heads = shapes.get((0, "hook_attn_in" if summed else "hook_q_input"), [])
    kv_heads = heads if summed else shapes.get((0, "hook_k_input"), [])
    if n_layers > len(shapes) or len(heads) < 2 or len(kv_heads) < 2:
        raise UsageError("scores of the readers of each layer are missing, or have no axis of heads")
    mlp = shapes.get((0, "hook_mlp_in"))
    sizes = {
        "n_layers": n_layers,
        "n_heads": heads[-2],
        "n_kv_heads": kv_heads[-2],
        "parallel": mlp is not None and mlp[-1:] == [1],
        "has_mlp": mlp is not None,
        "summed_qkv": summed,
    }
    return stored_graph(sizes, sum(value.numel() for value in modules.values()))

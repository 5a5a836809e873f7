"""Information flow routes (Ferrando & Voita 2024, arXiv 2403.00824): each writer's share of what a reader reads.

    proximity(u, v) = max(0, ‖r_v‖₁ − ‖r_v − c_u‖₁)        importance(u → v) = proximity(u, v) / Σ_w proximity(w, v)

where c_u is what writer u adds to the residual stream, and r_v is the residual stream at reader v, at one position of
one clean prompt. The scores do not depend on the metric, the corrupt prompts or any gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Progress
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import WriterRecorder, merge
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.interventions.workspace import workspace
from eap_plugin.interventions.writer_outputs import Writers, all_add
from eap_plugin.metric.metric import Metric
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site


@dataclass(frozen=True)
class RoutesOptions:
    """The options of information flow routes."""

    positions: bool = option(False, help="score each token position separately, with a leading position axis")


class InformationFlowRoutes(Algorithm[RoutesOptions]):
    """Shares of a reader's input, which add up to 1 over its writers, averaged over positions and prompts."""

    name = "information-flow-routes"
    summary = "a writer's share of what a reader reads, on clean prompts; independent of the metric"
    reference = "Ferrando & Voita 2024, arXiv 2403.00824; edges as in EAP-IG"
    sign = "never negative: the writer's share of what the reader reads"
    score_unit = "share"
    options = RoutesOptions

    def cost(self, options: RoutesOptions, graph: Graph) -> Cost:
        """Count one forward pass on the clean prompts."""
        return Cost(forwards=1, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: RoutesOptions,
        progress: Progress,
    ) -> Attribution:
        """Score every edge; see ``Algorithm.attribute``."""
        graph = model.graph
        n_positions = max(piece.batch.clean.shape[1] for piece in data)
        dtype = model.score_dtype
        matrix = torch.zeros(n_positions, len(graph.sources), len(graph.readers), dtype=dtype, device=model.device)
        for piece in data:
            batch = piece.batch.to(model.device)
            writers, streams = _record(model, batch)
            weight = piece.share * _weights(batch).to(dtype)
            step = max(1, workspace(model.device) // (len(graph.sources) * writers.embed[:, 0].numel()))
            n_pos = batch.clean.shape[1]  # of this batch, not of the longest one
            for start in range(0, n_pos, step):
                part = slice(start, min(start + step, n_pos))
                _add_positions(model, writers, streams, weight, part, matrix[part])
            progress()
        return Attribution(graph, matrix if options.positions else matrix.sum(0))


def _record(model: ResidualModel, batch: Batch) -> tuple[Writers, dict[tuple[Site, int], Tensor]]:
    """Run the clean prompts, and return the writers' outputs and the residual stream at each site that is read."""
    recorder, streams = WriterRecorder(model), SiteRecorder()
    sites: list[Site] = ["attn_in", "mlp_in", "final"] if model.graph.has_mlp else ["attn_in", "final"]
    visit = merge(streams.visitors(*sites), recorder.visitors())
    with torch.no_grad():
        model.forward(batch.clean_prompts, visit)
    return recorder.writers(), streams.values


def _weights(batch: Batch) -> Float[Tensor, "batch pos"]:
    """Return weights that average over the real tokens of each prompt, then over prompts; zero at padding."""
    real = batch.clean_prompts.real.to(torch.float64)
    return real / (real.sum(1, keepdim=True) * len(batch))


def _add_positions(
    model: ResidualModel,
    writers: Writers,
    streams: dict[tuple[Site, int], Tensor],
    weight: Float[Tensor, "batch pos"],
    part: slice,
    out: Float[Tensor, "part sources readers"],
) -> None:
    """Add the scores of the positions ``part`` to ``out``."""
    added = all_add(model, writers, part).to(out.dtype)
    for place, columns in _reading_sites(model.graph).items():
        cut = model.graph.readers[columns[0]].n_upstream
        read = streams[place][:, part].to(out.dtype)
        proximity = (read.abs().sum(-1) - (read - added[:cut]).abs().sum(-1)).clamp_min(0)
        share = proximity / proximity.sum(0).clamp_min(torch.finfo(out.dtype).tiny)
        out[:, :cut, columns] += (share * weight[:, part]).sum(1).T[..., None]


def _reading_sites(graph: Graph) -> dict[tuple[Site, int], list[int]]:
    """Group readers by the site that they read, as columns; a layer's q, k and v heads read the same site."""
    sites: dict[str, Site] = {"mlp": "mlp_in", "logits": "final"}
    places: dict[tuple[Site, int], list[int]] = {}
    for column, reader in enumerate(graph.readers):
        places.setdefault((sites.get(reader.slot, "attn_in"), reader.layer), []).append(column)
    return places

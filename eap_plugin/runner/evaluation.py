"""The program of an evaluation, executed where the weights are by ``model.run``: one metric per run and prompt.

1. The prompts are split into microbatches that fit in memory, and with shared prefixes where these save work
   (``shared_prefixes``): every run of a circuit continues from what clean and corrupt prompts have in common.
2. The counterfactual values are computed, if they are constants.
3. On the first prompts, the whole model and the empty circuit are computed edge by edge.
4. Every circuit is run on one microbatch after another (``circuits.evaluation.program``). If memory runs out, the
   microbatches that are left are halved, and what was measured is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from eap_plugin.algorithm.base import Progress
from eap_plugin.circuits.evaluation.program import Measured, PatchedRun, measure_piece, reproduction_errors
from eap_plugin.data.microbatches import Microbatch, Reference
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize, balanced, fitting_size
from eap_plugin.runner.fitting import Fraction, attempt, one_by_one
from eap_plugin.runner.shared_prefixes import Sharing, split_for


def evaluate_runs(
    model: ResidualModel,
    data: Sequence[Microbatch],
    size: int | FittingSize | None,
    runs: Sequence[PatchedRun],
    metric: Metric,
    ablation: Ablation,
    sharing: Sharing,
    progress: Progress,
) -> Measured:
    """Compute the metric on the clean and corrupt prompts, of the empty circuit and of every run.

    Args:
        model: the model, frozen.
        data: the prompt pairs, as whole batches or parts of them.
        size: the maximum number of prompt pairs to run at a time; ``None`` for no maximum, and a ``FittingSize`` for as
            many as fit in memory.
        runs: the circuits.
        metric: the metric.
        ablation: what flows along edges that are not in the circuit.
        sharing: how runs may share prefixes.
        progress: called with the fraction of the work that is done since the last call.
    """
    most = fitting_size(model, data, metric, size) if isinstance(size, FittingSize) else size
    largest = max(len(piece.batch) for piece in data)
    most = largest if most is None else balanced(largest, most)
    reference = data[0].reference or Reference(piece.batch for piece in data)
    with torch.no_grad():
        counterfactual = _counterfactual(model, data, ablation, reference, most)
        pieces = split_for(model, _in_places(data), most, sharing)
        errors = reproduction_errors(model, pieces[0], counterfactual)

        def run(piece: Microbatch, tick: Fraction) -> Tensor:
            return measure_piece(model, piece, runs, metric, counterfactual, partial(tick, 1 / max(1, len(runs))))

        return _joined(list(one_by_one(run, pieces, progress)), errors)


def _counterfactual(
    model: ResidualModel, data: Sequence[Microbatch], ablation: Ablation, reference: Reference, most: int
) -> Counterfactual:
    """Return the counterfactual values; means are over at most ``most`` prompts at a time, or fewer."""
    data = [piece._replace(reference=reference) for piece in data]
    while True:
        reference.most = most
        found = attempt(partial(Counterfactual, model, data, ablation), most)
        if found is not None:
            return found
        most = (most + 1) // 2


def _in_places(data: Sequence[Microbatch]) -> list[Microbatch]:
    """Return the data with the place of each prompt pair."""
    stops = torch.tensor([len(piece.batch) for piece in data]).cumsum(0).tolist()
    return [
        piece._replace(batch=replace(piece.batch, places=torch.arange(stop - len(piece.batch), stop)))
        for piece, stop in zip(data, stops, strict=True)
    ]


def _joined(measured: Sequence[tuple[Microbatch, Tensor]], errors: tuple[float, float]) -> Measured:
    """Return the measurements of all microbatches, in the order of the data."""
    per_prompt = all(rows.ndim == 2 for _, rows in measured)
    rows = torch.cat([rows.view(len(rows), -1).expand(-1, len(piece.batch)) for piece, rows in measured], 1)
    order = torch.cat([_places(piece) for piece, _ in measured]).argsort()
    clean, corrupt, empty = rows[:3, order]
    return Measured(clean, corrupt, empty, rows[3:, order], per_prompt, *errors)


def _places(piece: Microbatch) -> Tensor:
    assert piece.batch.places is not None
    return piece.batch.places

"""Running what the clean and corrupt prompts of a microbatch have in common."""

from __future__ import annotations

from dataclasses import replace

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.model.residual_model import ResidualModel


def with_prefix(model: ResidualModel, piece: Microbatch) -> Batch:
    """Return a microbatch's prompt pairs on the model's device, after running what it leaves to a prefix.

    ``clean_prompts``, ``corrupt_prompts`` and ``prompts`` of the batch continue from these positions, and a run on them
    reaches the positions after them only.
    """
    batch = piece.batch.to(model.device)
    if not piece.n_prefix:
        return batch
    first, _ = batch.clean_prompts.split(piece.n_prefix)
    return replace(batch, prefix=model.prefix(first))

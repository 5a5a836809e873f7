"""Check that a model's edges reproduce what the model computes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from eap_plugin.api.models import placed
from eap_plugin.api.prompts import batches_for
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.runner.self_check.self_check import CheckReport
from eap_plugin.runner.shared_prefixes import check_with_prefix


def check(
    model: object,
    data: object = None,
    *,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
) -> CheckReport:
    """Check that edge scores are meaningful on this model: the writers must sum to what each reader reads.

    Args:
        model: as for ``prune_scores``.
        data: prompts to check on, as for ``prune_scores``; random tokens if not given.
        remote: as for ``prune_scores``.
        timeout: as for ``prune_scores``.
        status: as for ``prune_scores``.
    """
    there = placed(model, RemoteOptions(remote, timeout, status))
    if data is not None:
        batch = batches_for(there, data)[0].select(slice(0, None if there.run_constraints.whole_batches else 4))
        return there.run(check_with_prefix, batch.clean_prompts)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(there.n_vocab, (2, min(16, there.n_ctx or 16)), generator=generator)
    return there.run(check_with_prefix, Prompts(tokens))

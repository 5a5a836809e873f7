"""The output of ``eap run --dry-run``: the number of passes and how long they would take."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from eap_plugin.cli.output import print_json, stdout

if TYPE_CHECKING:
    from eap_plugin.runner.cost_estimate import Estimate


def tell_estimate(estimate: Estimate, what: str, n_prompts: int, as_json: bool) -> None:
    """Print an estimate."""
    if as_json:
        print_json(asdict(estimate) | {"cost": estimate.cost._asdict()})
        return
    forwards, backwards = estimate.cost
    batches = "1 batch" if estimate.n_pieces == 1 else f"each of {estimate.n_pieces} batches"
    stdout().print(
        f"{what}: {forwards:,} forward and {backwards:,} backward passes on {batches} "
        f"({n_prompts} prompt pairs).\n"
        f"On this machine a forward pass takes {estimate.forward_seconds:.2g} s, a backward pass "
        f"{estimate.backward_seconds:.2g} s and scoring after it {estimate.scoring_seconds:.2g} s: "
        f"about {duration(estimate.seconds)} in all.\n"
        f"It needs about {memory(estimate.memory_bytes)} for activations beside {memory(estimate.weight_bytes)} "
        f"of weights."
    )


def memory(size: float) -> str:
    """Format a number of bytes, such as ``12 MB`` or ``3.5 GB``."""
    return f"{size / 1e6:.2g} MB" if size < 995e5 else f"{size / 1e9:.2g} GB"


def duration(seconds: float) -> str:
    """Format a duration with a unit that suits it, such as ``12 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""What ``eap run`` reports before the scores: which prompts were left out, and how well the model does the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eap_plugin.cli.edges import counted, established
from eap_plugin.cli.output import number, stderr
from eap_plugin.errors import EapPluginError

if TYPE_CHECKING:
    from eap_plugin.results.node_scores import NodeScores
    from eap_plugin.results.prune_scores import PruneScores
    from eap_plugin.task.task import Dropped

MOST_REASONS = 5
EXAMPLES = 2


def report_dropped(dropped: Sequence[Dropped], kept: int) -> None:
    """Print on stderr which prompt pairs were left out: the most common reasons, their counts and examples."""
    console = stderr()
    console.print(f"{len(dropped)} of {len(dropped) + kept} prompt pairs were left out:")
    counts = Counter(d.reason for d in dropped)
    for reason, count in counts.most_common(MOST_REASONS):
        console.print(f"  {count} x {reason}", soft_wrap=True)
        for prompt in [d.prompt for d in dropped if d.reason == reason][:EXAMPLES]:
            console.print(f"      {prompt!r}", no_wrap=True, overflow="ellipsis")
    if len(counts) > MOST_REASONS:
        console.print(f"  and {len(counts) - MOST_REASONS} more reasons (--json lists all)")
    console.print()


def require_behaviour(scores: PruneScores | NodeScores) -> None:
    """Refuse to report scores for a task that the model does not do.

    Raises:
        EapPluginError: unless the metric is higher on clean prompts than on corrupt ones.
    """
    m = scores.metadata
    if not m["clean_metric"] > m["corrupt_metric"]:
        raise EapPluginError(
            f"{m['metric']} is {number(m['clean_metric'])} on clean prompts, not above "
            f"{number(m['corrupt_metric'])} on corrupt ones, so there is no behaviour to explain; "
            f"check the task's answers, or use --force"
        )


def summary(scores: PruneScores | NodeScores) -> str:
    """Return what was scored, how well the model does it and what was sent to a server, one line each."""
    m = scores.metadata
    what = f"{m['algorithm']} on {m['model']}: {counted(scores)}"
    unit = f" ({m['metric_unit']})" if m["metric_unit"] else ""
    clean, corrupt = number(m["clean_metric"]), number(m["corrupt_metric"])
    lines = [
        f"{what}, {m['n_prompts']} prompt pair{'s' * (m['n_prompts'] != 1)} of {m['task']}",
        f"{m['metric']}: {clean} on clean, {corrupt} on corrupt prompts{unit}",
    ]
    if sure := established(scores):
        lines.append(f"sign established: {sure}")
    if "remote" in m:
        lines.append(_traffic(m["remote"]))
    return "\n".join(lines)


def _traffic(remote: Mapping[str, Any]) -> str:
    return (
        f"{remote['requests']} request{'s' * (remote['requests'] != 1)} to {remote['host']}: "
        f"{remote['bytes_sent'] / 1000:.1f} kB sent, {remote['bytes_received'] / 1000:.1f} kB received, "
        f"{remote['seconds']:.1f} s"
    )

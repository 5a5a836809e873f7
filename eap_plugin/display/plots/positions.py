"""The figure of scores by token position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.circuits.selection.base import Scores
from eap_plugin.display.plots.style import finished, label, sign_colors, styled
from eap_plugin.errors import UsageError
from eap_plugin.results.score_unit import with_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LABELS = 60
"""The number of positions up to which each is labelled with its token."""


def positions_figure(
    scores: Scores,
    tokens: Sequence[str] | None = None,
    *,
    style: str | Path = "paper",
    width: str | float = "single",
) -> Figure:
    """Draw the sum of the positive and that of the negative scores at each token position.

    Args:
        scores: scores kept per position.
        tokens: a label for each position, such as the tokens that all prompts share there; by default those that the
            scores record.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if scores are not kept per position, or there are not as many labels as positions.
        EapPluginError: if matplotlib is not installed.
    """
    if not scores.has_positions:
        raise UsageError("the scores are not kept per position; score with positions=True (eap run -O positions=true)")
    flat = scores.matrix.detach().cpu().double().flatten(1)
    recorded = scores.metadata.get("tokens")
    texts = list(tokens) if tokens is not None else recorded if isinstance(recorded, list) else None
    if texts is not None and len(texts) != len(flat):
        raise UsageError(f"tokens must have one entry per position; got {len(texts)} for {len(flat)} positions")
    positive, negative = flat.clamp(min=0).sum(1).numpy(), flat.clamp(max=0).sum(1).numpy()
    with styled(style, width) as inches:
        from matplotlib.ticker import MaxNLocator

        from eap_plugin.display.plots.figure import Figure

        figure = Figure(figsize=(inches, 0.65 * inches))
        axes = figure.subplots()
        places = range(len(flat))
        colors = sign_colors()
        axes.bar(places, positive, color=colors[0], label="positive scores")
        axes.bar(places, negative, color=colors[1], label="negative scores")
        axes.axhline(0, color="0.5", linewidth=0.6)
        if texts is None:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        elif len(texts) <= MOST_LABELS:
            axes.set_xticks(places, labels=[label(text) or "␣" for text in texts], rotation=90)
        axes.set_xlabel("Position")
        axes.set_ylabel(with_unit("Sum of scores", scores.metadata))
        figure.legend(loc="outside lower center", ncols=2)
        return finished(figure)

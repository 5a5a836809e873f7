"""Draw the figures of the documentation, on the shipped models: into docs/img.

    python -m scripts.draw_docs [FIGURE...]

Without arguments, all are drawn, which takes two minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.image import imread

import eap_plugin

IMAGES = Path(__file__).parents[1] / "docs" / "img"
BACKGROUND = "#15181e"
MODEL, TASK, PROMPTS = "ioi-llama", "ioi", 32


def main(wanted: list[str]) -> None:
    """Draw the figures, or those that are wanted."""
    model = eap_plugin.load_model(MODEL)
    task = eap_plugin.load_task(TASK, model, n_prompts=PROMPTS)
    others = eap_plugin.load_task(TASK, model, n_prompts=PROMPTS, seed=1)
    eap = eap_plugin.prune_scores(model, task)
    curve = eap_plugin.evaluate(model, others, eap, random=20)

    def beside_eap(algorithm: str) -> tuple[Any, ...]:
        scores = eap_plugin.prune_scores(model, task, algorithm=algorithm)
        return curve, eap_plugin.evaluate(model, others, scores)

    def curves(*algorithms: str) -> tuple[Any, ...]:
        return tuple(beside_eap(algorithm)[1] for algorithm in algorithms)

    figures: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
        "circuit": lambda: ((eap_plugin.find_circuit(model, task, eap),), {}),
        "curve": lambda: ((curve,), {}),
        "accuracy": lambda: (curves("exact", "eap-ig-inputs", "eap", "relp", "random"), {"width": 5}),
        "scores": lambda: ((eap,), {"kind": "scores"}),
        "scatter": lambda: ((eap, eap_plugin.prune_scores(model, task, algorithm="exact")), {}),
        "nodes": lambda: ((eap,), {"kind": "nodes"}),
        "positions": lambda: ((eap_plugin.prune_scores(model, task, positions=True),), {"kind": "positions"}),
    }
    for algorithm in sorted(set(eap_plugin.algorithms()) - {"eap", "random"}):
        figures[f"algorithm-{algorithm}"] = lambda name=algorithm: (beside_eap(name), {})  # type: ignore[misc]
    for name in wanted or figures:
        things, options = figures[name]()
        if name == "circuit":
            draw_card(things[0])
        eap_plugin.plot(*things, path=IMAGES / f"{name}.svg", **options)


def draw_card(circuit: eap_plugin.Circuit) -> None:
    """Draw the picture that links to the site show: its name, and a circuit."""
    drawn = BytesIO()
    eap_plugin.plot(circuit, style="dark", width=5).savefig(drawn, format="png", dpi=110, facecolor=BACKGROUND)
    drawn.seek(0)
    card = Figure(figsize=(12, 6.3), facecolor=BACKGROUND)
    axes = card.add_axes((0.45, 0.02, 0.54, 0.96))
    axes.imshow(imread(drawn))
    axes.set_axis_off()
    card.text(0.05, 0.56, "eap-plugin", color="#ffffff", fontsize=50, weight="bold")
    card.text(0.05, 0.40, "Find circuits in\nlanguage models", color="#c8ccd4", fontsize=28, va="center")
    card.savefig(IMAGES / "card.png", dpi=100, facecolor=BACKGROUND, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1:])

"""Write the pages of the gallery, docs/gallery/*.html, as the commands in docs/gallery.md do."""

from __future__ import annotations

from pathlib import Path

import eap_plugin

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
MODELS = ("ioi-gpt2", "ioi-llama")
SIZES = (5, 10, 20, 40, 80, 160)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        model = eap_plugin.load_model(name)
        task = eap_plugin.load_task("ioi", model, n_prompts=64)
        scores = eap_plugin.prune_scores(model, task)
        evaluation = eap_plugin.evaluate(model, task, scores, sizes=SIZES, random=5)
        eap_plugin.view(scores, evaluation, path=FOLDER / f"{name}.html")
        if name == MODELS[0]:
            exact = eap_plugin.prune_scores(model, task, algorithm="exact")
            eap_plugin.view(scores, exact, title="eap and exact on ioi-gpt2", path=FOLDER / "difference.html")


if __name__ == "__main__":
    main()

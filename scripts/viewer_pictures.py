"""Write the pictures of the viewer in docs/img/viewer, with chromium; needs Pillow, which matplotlib brings.

The gallery must have been made (``make docs``). The pictures of 200 and 2,000 edges are of random scores on the graph
of GPT-2 small.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.display.viewer.samples import scores

DOCS = Path(__file__).parents[1] / "docs"
GALLERY, PICTURES = DOCS / "gallery", DOCS / "img" / "viewer"
SHOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "20-edges": ("ioi-gpt2", {"size": 20}),
    "200-edges": ("gpt2-small", {"size": 200, "connected": False}),
    "2000-edges": ("gpt2-small", {"size": 2000, "connected": False}),
    "dark": ("ioi-llama", {"size": 40, "theme": "dark", "focus": "a2.h0"}),
    "phone": ("ioi-gpt2", {"size": 40}),
    "difference": ("difference", {"size": 40}),
    "positions": ("positions", {"size": 60, "layout": "tokens"}),
}


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        gpt2 = eap_plugin.Graph(12, 12, 12)
        eap_plugin.view(scores(gpt2), title="Random scores on GPT-2 small's graph", path=folder / "gpt2-small.html")
        eap_plugin.view(by_position(), path=folder / "positions.html")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        for picture, (page, arranged) in SHOWN.items():
            made = folder / f"{page}.html"
            photograph(browser, made if made.exists() else GALLERY / f"{page}.html", picture, arranged)


def by_position() -> eap_plugin.PruneScores:
    """Return scores by position, from prompts of one template, which have the same length."""
    model = eap_plugin.load_model("ioi-gpt2")
    batch = eap_plugin.load_task("ioi", model, n_prompts=64).batch()
    length = int(batch.real.sum(1)[0])
    same = batch.select((batch.real.sum(1) == length).nonzero().flatten())
    whole = Batch(same.clean[:, :length], same.corrupt[:, :length], same.answers, same.wrong_answers)
    found = eap_plugin.prune_scores(model, [whole], positions=True)
    assert isinstance(found, eap_plugin.PruneScores)
    return found


def photograph(browser: Browser, path: Path, name: str, arranged: dict[str, Any]) -> None:
    """Write a picture of a page, in few colours, and smaller where many edges would make a large file."""
    size = (390, 844) if name == "phone" else (1280, 800)
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(f"{path.as_uri()}#view={quote(json.dumps(arranged))}")
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if path.stem == "gpt2-small":
        image = image.resize((768, 480), Image.Resampling.LANCZOS)
    colours = 20 if path.stem == "gpt2-small" else 64
    image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        PICTURES / f"{name}.png", optimize=True
    )
    page.close()


if __name__ == "__main__":
    main()

"""How long the viewer takes to answer, on the graph of GPT-2 small."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eap_plugin.display.viewer import page
from eap_plugin.model.graph import Graph
from tests.display.viewer.samples import scores
from tests.display.viewer.viewer import Viewer

GPT2 = Graph(12, 12, 12)

MEASURE = """async () => {
  const slider = document.getElementById('slider');
  const node = document.querySelector('g.node[data-key="a5.h3"]');
  const box = node.getBoundingClientRect();
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const acts = {
    slide: (i) => { slider.value = Number(slider.value) + (i % 2 ? 2 : -2); slider.dispatchEvent(new Event('input')); },
    hover: () => node.dispatchEvent(
      new PointerEvent('pointermove', { bubbles: true, clientX: box.x + 5, clientY: box.y + 5 })),
    click: () => node.dispatchEvent(new MouseEvent('click', { bubbles: true })),
  };
  const times = {};
  for (const [name, act] of Object.entries(acts)) {
    times[name] = [];
    for (let i = 0; i < 15; i++) {
      const start = performance.now();
      act(i);
      await frame();
      times[name].push(performance.now() - start);
    }
    times[name].sort((a, b) => a - b);
  }
  return times;
}"""


@pytest.fixture(scope="module")
def html() -> str:
    return page(scores(GPT2))


def test_2000_edges_answer(html: str, viewer: Viewer, record_property: Callable[[str, object], None]) -> None:
    """The times are printed after the tests, not judged: other work on the machine changes them."""
    viewer.open(html, {"size": 2000, "connected": False})
    assert "2,000 shown" in viewer.page.inner_text("#counts")
    times = viewer.page.evaluate(MEASURE)
    for name, taken in times.items():
        record_property(f"takes {name}", f"{taken[0]:.0f} ms, median {taken[7]:.0f}")
    assert "2,000 shown" not in viewer.settle().page.inner_text("#counts")  # the slider was moved


def test_32491_edges_load(html: str, viewer: Viewer) -> None:
    viewer.open(html)
    assert int(viewer.page.input_value("#number")) < 5000
    viewer.page.fill("#number", "32491")
    viewer.page.press("#number", "Enter")
    assert "32,491 of 32,491 edges selected" in viewer.settle().page.inner_text("#counts")

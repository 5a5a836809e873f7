"""The viewer in a browser: what it shows, and what a person can do with it."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import torch

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.display.viewer import page
from eap_plugin.results.node_scores import NodeScores
from tests.display.viewer.samples import GROUPED, SMALL, evaluation, scores
from tests.display.viewer.viewer import Viewer

SVG = "{http://www.w3.org/2000/svg}"


def test_shows_the_circuit_that_select_gives(viewer: Viewer) -> None:
    given = scores()
    viewer.open(page(given))
    for method, signed, size, prune in [
        ("top", False, 40, True),
        ("top", True, 60, False),
        ("greedy", False, 25, True),
        ("positive-first", True, 262, True),
    ]:
        viewer.page.select_option("#method", method)
        viewer.click(f'[data-signed="{int(signed)}"]')
        viewer.page.set_checked("#connected", prune)
        viewer.settle()
        viewer.page.fill("#number", str(size))
        viewer.page.press("#number", "Enter")
        wanted = eap_plugin.select(given, edges=size, method=method, signed=signed, prune=prune)
        assert viewer.settle().edges() == set(wanted.edge_names)
        seen = {edge["edge"]: edge["score"] for edge in viewer.seen()["edges"]}
        assert all(abs(score - float(given.edge(name))) < 1e-6 for name, score in seen.items())


def test_grouped_query_attention(viewer: Viewer) -> None:
    given = scores(GROUPED)
    viewer.open(page(given), {"size": 60})
    assert viewer.edges() == set(eap_plugin.select(given, edges=60).edge_names)
    assert viewer.page.locator("g.shared").count() == GROUPED.n_layers * GROUPED.n_kv_heads


def test_layers_are_stacked_and_nothing_overlaps(viewer: Viewer) -> None:
    viewer.open(page(scores()))
    boxes = {}
    for node in viewer.page.locator("g.node").all():
        box = node.locator(".box").bounding_box()
        assert box is not None
        boxes[node.get_attribute("data-key")] = box
    assert len(boxes) == len(SMALL.sources) + 1
    assert boxes["input"]["y"] > boxes["a0.h0"]["y"] > boxes["m0"]["y"] > boxes["a1.h0"]["y"] > boxes["logits"]["y"]
    assert boxes["a0.h0"]["x"] < boxes["a0.h1"]["x"] < boxes["m0"]["x"]
    placed = list(boxes.values())
    for i, a in enumerate(placed):
        for b in placed[:i]:
            apart_x = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
            assert apart_x or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
    stage = viewer.page.locator("#stage").bounding_box()
    assert stage is not None
    assert all(stage["x"] <= b["x"] and b["x"] + b["width"] <= stage["x"] + stage["width"] for b in placed)
    assert viewer.page.locator("g.node text.port").all_text_contents()[:3] == ["q", "k", "v"]


def test_slider_and_faithfulness(viewer: Viewer) -> None:
    measured = evaluation(sizes=(5, 20, 80))
    viewer.open(page(scores(), measured), {"size": 20})
    assert "faithfulness 0.200 (95 %: 0.20 to 0.60)" in viewer.page.inner_text("#counts")
    before = viewer.page.get_attribute("circle.now", "cx")
    viewer.page.focus("#slider")
    for _ in range(3):
        viewer.page.keyboard.press("ArrowRight")
    text = viewer.settle().page.inner_text("#counts")
    assert "interpolated" in text
    assert float(viewer.page.get_attribute("circle.now", "cx") or 0) > float(before or 0)
    assert 20 < viewer.seen()["choices"]["size"] < 30
    assert 0.2 < viewer.seen()["faithfulness"][0]["value"] < 0.3
    viewer.click('[data-signed="1"]')
    assert viewer.seen()["faithfulness"][0]["value"] > 0.5
    assert viewer.page.locator("circle.measured").count() == 3
    viewer.page.select_option("#method", "greedy")
    assert viewer.settle().page.locator("circle.now").count() == 0
    assert "of another selection" in viewer.page.inner_text("#chart")


def test_hover_shows_numbers_and_signed_lists(viewer: Viewer) -> None:
    given = scores()
    viewer.open(page(given), {"size": 262, "connected": False})
    viewer.node("a1.h1").hover()
    text = viewer.page.inner_text("#tip")
    into = [edge for edge in given.top(262) if edge.reader.startswith("a1.h1")]
    assert "a1.h1" in text and f"In: {len(into)}" in text and "Out: 15" in text and "of all scores" in text
    assert f"{abs(into[0].score):.3}"[:4] in text
    viewer.page.mouse.move(5, 5)
    assert viewer.page.locator("#tip").is_hidden()


def test_hovering_an_edge(viewer: Viewer) -> None:
    circuit = Circuit(SMALL, scores().matrix * 0 != 0, None, scores().matrix)
    circuit.edges[SMALL.edge("input->logits")] = True
    viewer.open(page(circuit))
    ends = [viewer.node(key).bounding_box() for key in ("input", "logits")]
    assert ends[0] is not None and ends[1] is not None
    middle = ends[0]["x"] + ends[0]["width"] / 2, (ends[0]["y"] + ends[1]["y"]) / 2
    for shift in range(-90, 91, 4):
        viewer.page.mouse.move(middle[0] + shift, middle[1])
        if viewer.page.locator("#tip").is_visible():
            break
    text = viewer.page.inner_text("#tip")
    assert "input->logits" in text and "score" in text and "logits" in text


def test_click_isolates_what_is_up_and_downstream(viewer: Viewer) -> None:
    given = scores()
    circuit = eap_plugin.select(given, edges=80)
    viewer.open(page(given), {"size": 80})
    viewer.click(viewer.node("a1.h1"))
    names = circuit.edge_names
    into, out = {"a1.h1"}, {"a1.h1"}
    for _ in range(20):
        into |= {edge.split("->")[0] for edge in names if edge.split("->")[1].split("<")[0] in into}
        out |= {edge.split("->")[1].split("<")[0] for edge in names if edge.split("->")[0] in out}
    wanted = {edge for edge in names if edge.split("->")[1].split("<")[0] in into or edge.split("->")[0] in out}
    assert viewer.edges() == wanted
    assert 0 < len(wanted) < len(names)
    assert "a1.h1" in viewer.page.inner_text("#panel-node")
    viewer.page.keyboard.press("Escape")
    assert viewer.settle().edges() == set(names)


def test_shift_click_shows_the_strongest_path(viewer: Viewer) -> None:
    edges = {
        "input->a0.h0<v>": 5.0,
        "a0.h0->m2": 1.0,
        "input->m0": 3.0,
        "m0->a1.h0<q>": -2.0,
        "a1.h0->m2": 4.0,
        "m2->logits": 9.0,
    }
    matrix = torch.zeros(len(SMALL.sources), len(SMALL.readers))
    for name, score in edges.items():
        matrix[SMALL.edge(name)] = score
    viewer.open(page(Circuit(SMALL, matrix != 0, None, matrix)))
    viewer.click(viewer.node("m2")).click(viewer.node("input"), "Shift")
    assert viewer.edges() == {"input->m0", "m0->a1.h0<q>", "a1.h0->m2"}
    assert [line.split()[0] for line in viewer.page.locator("#path li").all_inner_texts()] == [
        "input->m0",
        "m0->a1.h0<q>",
        "a1.h0->m2",
    ]


def test_search(viewer: Viewer) -> None:
    viewer.open(page(scores()), {"names": {"a2.h3": "name mover"}})
    viewer.page.fill("#search", "mover")
    assert viewer.settle().node("a2.h3").get_attribute("class") is not None
    assert "found" in (viewer.node("a2.h3").get_attribute("class") or "")
    viewer.page.press("#search", "Enter")
    assert viewer.settle().seen()["choices"]["focus"] == "a2.h3"


def test_what_is_arranged_is_kept_in_the_address_and_in_a_copy(viewer: Viewer) -> None:
    html = page(scores(), evaluation())
    viewer.open(html, {"size": 100})
    viewer.name("a2.h3", "S2 inhibition </script>")
    viewer.click(viewer.node("a2.h1"), "Control").click(viewer.node("a2.h2"), "Control")
    viewer.click("#tab-groups").click("#group")
    viewer.page.fill("#rename", "movers")
    viewer.page.press("#rename", "Enter")
    viewer.settle()
    box = viewer.node("m0").bounding_box()
    assert box is not None
    viewer.page.mouse.move(box["x"] + 9, box["y"] + 9)
    viewer.page.mouse.down()
    viewer.page.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    viewer.page.mouse.up()
    viewer.settle().click("#theme")
    kept = viewer.arranged()
    assert kept["names"] == {"a2.h3": "S2 inhibition </script>"} and list(kept["pins"]) == ["m0"]
    assert kept["groups"] == [{"id": "group 1", "name": "movers", "members": ["a2.h1", "a2.h2"]}]
    seen = viewer.seen()
    assert {"node": "group 1", "label": "movers", "members": ["a2.h1", "a2.h2"]}.items() <= next(
        node for node in seen["nodes"] if node["node"] == "group 1"
    ).items()
    assert next(node for node in seen["nodes"] if node["node"] == "m0")["pinned"]
    assert seen["labels"] == kept["names"]
    copy = viewer.saved("copy").decode()
    assert copy.count("<script") == html.count("<script")
    viewer.open(copy)
    again = viewer.seen()
    assert again == seen
    assert viewer.page.evaluate("document.documentElement.dataset.theme") == "dark"
    viewer.open(html, kept)
    assert viewer.seen() == seen
    second = viewer.open(copy).saved("copy").decode()
    assert second.split("<title>")[1] == copy.split("<title>")[1]


def test_groups_merge_edges(viewer: Viewer) -> None:
    given = scores()
    members = ["a1.h0", "a1.h1", "a1.h2"]
    viewer.open(
        page(given),
        {"size": 262, "connected": False, "groups": [{"id": "group 1", "name": "three", "members": members}]},
    )
    assert viewer.node("a1.h0").count() == 0 and viewer.node("group 1").count() == 1
    lines = ElementTree.fromstring(viewer.saved("svg")).findall(f".//{SVG}path[@data-edges]")
    merged = next(line for line in lines if "a1.h0->logits" in str(line.get("data-edges")))
    assert str(merged.get("data-edges")).split() == sorted(
        (f"{member}->logits" for member in members), key=lambda name: -abs(float(given.edge(name)))
    )
    viewer.click(viewer.node("group 1")).click("#ungroup")
    assert viewer.node("a1.h0").count() == 1


def test_two_files_as_a_difference(viewer: Viewer) -> None:
    a, b = scores(seed=0), scores(seed=1)
    viewer.open(page(a, b, names=["a.json", "b.json"]), {"size": 90, "connected": False})
    first, second = (set(eap_plugin.select(one, edges=90, prune=False).edge_names) for one in (a, b))
    seen = {edge["edge"]: edge["which"] for edge in viewer.seen()["edges"]}
    changed = {name for name in first & second if float(a.edge(name)) * float(b.edge(name)) < 0}
    assert {name for name, which in seen.items() if which == "only-a"} == first - second
    assert {name for name, which in seen.items() if which == "only-b"} == second - first
    assert {name for name, which in seen.items() if which == "changed"} == changed and changed
    assert {name for name, which in seen.items() if which == "both"} == (first & second) - changed
    for letter, edges in (("A", first), ("B", second)):
        viewer.click(f"#views button:has-text('{letter} ·')")
        assert viewer.edges() == edges


def test_by_token(viewer: Viewer) -> None:
    given = scores(positions=6, tokens=["When", " Mary", " and", " John", " went", " to"])
    viewer.open(page(given), {"layout": "tokens", "size": 50})
    seen = {(edge["edge"], edge["position"]) for edge in viewer.seen()["edges"]}
    assert seen == {(edge.name, edge.position) for edge in given.top(50)}
    words = viewer.page.locator("g.token text.word")
    assert [word.strip() for word in words.all_text_contents()] == ["When", "Mary", "and", "John", "went", "to"]
    places = [box["x"] for box in (word.bounding_box() for word in words.all()) if box is not None]
    assert places == sorted(places)
    viewer.click("#layouts button:has-text('by head')")
    assert viewer.edges() == set(eap_plugin.select(given, edges=50).edge_names)


def test_scores_of_nodes(viewer: Viewer) -> None:
    given = NodeScores(SMALL, torch.linspace(-1, 2, len(SMALL.sources)), "node")
    viewer.open(page(given), {"size": 6})
    assert viewer.edges() == set(eap_plugin.select(given, nodes=6).edge_names)
    assert "positive" in (viewer.node("m2").get_attribute("class") or "")
    viewer.node("m2").hover()
    assert "score +2.00" in viewer.page.inner_text("#tip")


def test_an_evaluation_alone(viewer: Viewer) -> None:
    viewer.open(page(evaluation()))
    assert "0.100" in viewer.page.inner_text("#stage")


def test_exports_have_what_is_seen(viewer: Viewer) -> None:
    viewer.open(page(scores()), {"size": 50, "hidden": ["q"], "focus": "a1.h1", "names": {"a1.h1": "mine"}})
    seen = viewer.seen()
    edges = {edge["edge"] for edge in seen["edges"]}
    assert edges and not any(name.endswith("<q>") for name in edges)
    drawing = ElementTree.fromstring(viewer.saved("svg"))
    drawn = {
        name for path in drawing.findall(f".//{SVG}path[@data-edges]") for name in str(path.get("data-edges")).split()
    }
    assert drawn == edges
    assert "mine" in "".join(drawing.itertext())
    png = viewer.saved("png")
    assert png.startswith(b"\x89PNG") and int.from_bytes(png[16:20], "big") > 600
    table = viewer.click("#tab-table").page.locator("#panel-table tbody th").all_inner_texts()
    assert set(table) == edges


@pytest.mark.parametrize(
    "text",
    ['<img src="x:" onerror="alert(1)">', "</script><script>alert(1)</script>", "\u202egnidaer\u2067", "n" * 5000],
)
def test_text_from_files_is_inert(viewer: Viewer, text: str) -> None:
    example = {"clean": [text], "corrupt": ["b"], "answers": [text], "wrong_answers": []}
    given = scores(
        algorithm=text, metric=text, metric_unit=text, model=text, examples=[example], tokens=[text] * 2, positions=2
    )
    arranged = {
        "names": {"a1.h1": text},
        "groups": [{"id": text, "name": text, "members": ["a2.h0", "a2.h1"]}],
        "size": 100,
    }
    dialogs: list[str] = []
    viewer.open(page(given, title=text, names=[text]), arranged)
    viewer.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for tab in ("table", "groups", "about", "node"):
        viewer.click(f"#tab-{tab}")
    viewer.click(viewer.node("a1.h1"))
    viewer.node("m0").locator(".box").hover(force=True)
    viewer.click("#layouts button:has-text('by token')")
    ElementTree.fromstring(viewer.saved("svg"))
    assert dialogs == [] and viewer.page.locator("img").count() == 0
    assert viewer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_fragment_from_elsewhere_is_no_danger(viewer: Viewer) -> None:
    hostile = {
        "size": 1e99, "method": "constructor", "view": 7, "layout": "__proto__", "focus": "nothing", "path": ["a", "b"],
        "pins": {"m0": ["x", None], "m1": [1]}, "names": {"m0": {"a": 1}}, "groups": [None, {"id": 3}, {"id": "g"}],
        "hidden": "q", "marked": [1, None], "theme": "pink", "signed": "yes",
    }  # fmt: skip
    viewer.open(page(scores()), hostile)
    assert viewer.seen()["choices"]["method"] == "top"
    viewer.page.goto("about:blank")
    viewer.page.goto((viewer._folder / "page.html").as_uri() + "#view=%7Bnot json")
    assert len(viewer.settle().seen()["edges"]) > 10


def test_dark_and_light(viewer: Viewer) -> None:
    html = page(scores())
    assert ground_of(viewer.open(html)) == "rgb(255, 255, 255)"
    assert ground_of(viewer.open(html, dark=True)) == "rgb(20, 26, 33)"
    assert ground_of(viewer.click("#theme")) == "rgb(255, 255, 255)"


def ground_of(viewer: Viewer) -> str:
    return str(viewer.page.evaluate("getComputedStyle(document.getElementById('stage')).backgroundColor"))


def test_phone(viewer: Viewer) -> None:
    viewer.open(page(scores(), evaluation()), phone=True)
    assert viewer.page.evaluate("document.documentElement.scrollWidth") == 390
    node = viewer.node("a1.h1").bounding_box()
    assert node is not None and 0 < node["x"] < 390
    viewer.node("a1.h1").tap()
    assert viewer.settle().seen()["choices"]["focus"] == "a1.h1"
    viewer.page.tap("#to")
    viewer.node("input").tap()
    assert viewer.settle().seen()["choices"]["path"] == ["a1.h1", "input"]


def test_keyboard_alone(viewer: Viewer) -> None:
    viewer.open(page(scores()), {"size": 120})
    keys = viewer.page.keyboard
    for _ in range(12):
        keys.press("Tab")
        if viewer.page.evaluate("document.activeElement.classList.contains('node')"):
            break
    assert viewer.page.evaluate("document.activeElement.dataset.key") == "input"
    assert viewer.page.locator("#tip").is_visible()
    keys.press("ArrowUp")
    first = viewer.page.evaluate("document.activeElement.dataset.key")
    assert first.startswith(("a0", "m0"))
    keys.press("Enter")
    assert viewer.settle().seen()["choices"]["focus"] == first
    viewer.node(first).focus()
    keys.press("m")
    keys.press("ArrowRight")
    keys.press("m")
    assert len(viewer.settle().arranged()["marked"]) == 2
    keys.press("g")
    assert len(viewer.settle().arranged()["groups"]) == 1
    keys.press("Escape")
    viewer.node("m2").focus()
    keys.press("n")
    viewer.settle()
    keys.type("last MLP")
    keys.press("Enter")
    viewer.node("m2").focus()
    keys.press("p")
    assert viewer.settle().arranged()["names"] == {"m2": "last MLP"} and "m2" in viewer.arranged()["pins"]
    keys.press("]")
    assert viewer.settle().seen()["choices"]["size"] > 120
    keys.press("?")
    assert viewer.page.locator("#keys").is_visible()
    keys.press("Escape")
    viewer.settle()
    keys.press("/")
    assert viewer.page.evaluate("document.activeElement.id") == "search"


def test_every_control_has_a_name(viewer: Viewer) -> None:
    viewer.open(page(scores(), scores(seed=1), evaluation()), {"focus": "a1.h1"})
    for tab in ("node", "table", "groups", "about"):
        viewer.click(f"#tab-{tab}")
        unnamed = viewer.page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, [role=button], [role=tab], [role=tabpanel]')]
              .filter((one) => one.checkVisibility() && !(one.getAttribute('aria-label')
                || one.getAttribute('aria-labelledby') || one.textContent.trim()
                || (one.labels && one.labels.length))).map((one) => one.outerHTML)"""
        )
        assert unnamed == []


def test_in_a_sandboxed_frame(viewer: Viewer, tmp_path: object) -> None:
    inner = page(scores()).replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe sandbox="allow-scripts" style="width:900px;height:600px" srcdoc="{inner}"></iframe>'
    viewer.open(f"<!DOCTYPE html><meta charset=utf-8>{frame}")
    inside = viewer.page.frame_locator("iframe")
    inside.locator('g.node[data-key="a1.h1"]').click()
    assert "a1.h1" in inside.locator("#panel-node").inner_text()
    inside.locator("#slider").focus()
    viewer.page.keyboard.press("ArrowRight")
    viewer.page.wait_for_timeout(220)


def test_json_names_are_those_of_the_graph(viewer: Viewer) -> None:
    """Edges are numbered in the page without names; all of them come out with the graph's."""
    viewer.open(page(scores(GROUPED)), {"size": 10_000, "connected": False})
    everything = json.loads(viewer.saved("json"))["edges"]
    names = {GROUPED.edge_name(row, column) for row, column in scores(GROUPED).is_edge.nonzero().tolist()}
    assert {edge["edge"] for edge in everything} == names and len(everything) == GROUPED.n_edges

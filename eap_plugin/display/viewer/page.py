"""The whole HTML document: template, style, scripts and data in one text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.circuits.selection.base import Scores, Selection
from eap_plugin.circuits.selection.bootstrap import Bootstrap
from eap_plugin.circuits.selection.greedy import Greedy
from eap_plugin.circuits.selection.positive_first import PositiveFirst
from eap_plugin.circuits.selection.top import Top
from eap_plugin.display.viewer.curves import curve
from eap_plugin.display.viewer.dataset import circuit_dataset, score_dataset
from eap_plugin.display.viewer.packing import script_json
from eap_plugin.errors import UsageError

Viewable = Scores | Circuit | Evaluation
"""What a page can show."""

METHODS: tuple[Selection[Any], ...] = (Top(), Greedy(), PositiveFirst(), Bootstrap())

ASSETS = Path(__file__).parent / "assets"

SCRIPTS = (
    "data", "state", "connectivity", "view", "layout", "edges", "nodes", "stage", "chart", "panels", "table",
    "groups", "about", "export", "keyboard", "app",
)  # fmt: skip
"""The scripts, in the order in which they run."""


def page(
    *items: Viewable,
    title: str | None = None,
    names: Sequence[str] | None = None,
    methods: Sequence[Selection[Any]] = METHODS,
) -> str:
    """Return an HTML document that shows a circuit, or two as a difference; it needs no network and no other file.

    Args:
        *items: scores or circuits, at most two, of the same graph; and evaluations of them, which are shown beside the
            size. An evaluation may also be given alone.
        title: the title; by default the algorithm, model and task that the provenance names.
        names: a name for each item, such as its file's.
        methods: the selection methods that can be chosen in the page; those that cannot select from the scores are left
            out.

    Raises:
        UsageError: if there is nothing to show, there are more than two, or they have different graphs.
    """
    labels = list(names) if names is not None else [""] * len(items)
    if len(labels) != len(items):
        raise UsageError(f"give one name for each of the {len(items)} items, got {len(labels)}")
    shown = [(item, label) for item, label in zip(items, labels, strict=True) if not isinstance(item, Evaluation)]
    evaluations = [item for item in items if isinstance(item, Evaluation)]
    if not items or len(shown) > 2:
        raise UsageError(f"a page shows one or two files of scores or circuits, got {len(shown)}")
    if len({item.graph for item, _ in shown}) > 1:
        raise UsageError(f"these are of different graphs: {shown[0][0].graph} and {shown[1][0].graph}")
    datasets = [
        {"name": label} | (circuit_dataset(item) if isinstance(item, Circuit) else score_dataset(item, methods))
        for item, label in shown
    ]
    if len({made["kind"] == "node" for made in datasets}) > 1:
        raise UsageError("scores of nodes and of edges cannot be shown as a difference; give two of one kind")
    return document(
        {
            "title": title,
            "graph": shown[0][0].graph.to_dict() if shown else None,
            "datasets": datasets,
            "evaluations": [curve(evaluation) for evaluation in evaluations],
        }
    )


def document(data: Any) -> str:
    """Return the HTML document of these data; scripts and style that are not in it are refused by the browser."""
    library, own = _asset("vendor/d3.min.js"), "".join(_asset(f"{name}.js") for name in SCRIPTS)
    own = f'(() => {{\n"use strict";\n{own}}})();\n'
    style, licence = _asset("viewer.css"), _asset("vendor/LICENSE-d3")
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(own)}; style-src {_hash(style)}; "
        f"img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "STYLE": style,
        "LICENCE": licence,
        "LIBRARY": library,
        "SCRIPT": own,
        "DATA": script_json(data),
    }
    text = _asset("viewer.html")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part, 1)
    return text


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

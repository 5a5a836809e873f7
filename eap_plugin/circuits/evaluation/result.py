"""The result of an evaluation: how much of a behaviour circuits preserve, with intervals; a table and a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.circuits.evaluation.bootstrap import Area, Interval
from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest, read_test
from eap_plugin.errors import UsageError
from eap_plugin.files import read_text, write_whole
from eap_plugin.results.displayable import Displayable

SCHEMA = 1
"""Version of the file, increased whenever an older version of this package would misread it."""

_KEY, _KIND = "eap_plugin", "evaluation"
_OPENING = re.compile(rf'\s*\{{\s*"{_KEY}"\s*:\s*\{{[^{{}}]*"kind"\s*:\s*"{_KIND}"')


@dataclass(frozen=True, eq=False)
class Point:
    """The evaluation of one circuit.

    Attributes:
        size: the number of edges, nodes or neurons that were selected; of a given circuit, its number of edges.
        fraction: the share of all edges, nodes or neurons that it was selected to have.
        signed: whether it was selected by large scores, not by large absolute scores; ``None`` if it was given.
        n_edges: the number of edges in the circuit.
        n_edges_ungrouped: the same with one k and one v reader for each query head, as EAP-IG and MIB count.
        weighted_edge_count: MIB's size; see ``Circuit.weighted_edge_count``.
        metric: the metric on each prompt, [prompts].
        faithfulness: the faithfulness of the circuit.
        interval: its confidence interval over prompts; ``None`` if the metric is not known for each prompt.
        random_faithfulness: that of random circuits of the same size, [random].
        random_band: the range of 95 % of them; ``None`` without random circuits.
    """

    size: int
    fraction: float
    signed: bool | None
    n_edges: int
    n_edges_ungrouped: int
    weighted_edge_count: float
    metric: Float[Tensor, "prompts"]
    faithfulness: float
    interval: Interval | None = None
    random_faithfulness: Float[Tensor, "random"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    random_band: Interval | None = None

    @property
    def mean(self) -> float:
        """The metric, averaged over prompts."""
        return float(self.metric.mean())

    @property
    def random_mean(self) -> float | None:
        """The mean faithfulness of the random circuits; ``None`` if there are none."""
        return float(self.random_faithfulness.mean()) if len(self.random_faithfulness) else None


@dataclass(frozen=True, eq=False)
class Evaluation(Displayable):
    """The evaluation of circuits.

    Attributes:
        points: one per circuit, or per selection and size.
        clean: the metric of the model on each clean prompt, [prompts].
        corrupt: the same on the corrupt prompts.
        empty: the metric of the empty circuit on each prompt: every writer has its counterfactual value.
        per_prompt: whether the metric gives a number for each prompt; if not, there are no intervals, and each prompt
            is given the mean of those it was run with.
        metadata: what was evaluated, on what and how.
        cpr_area: MIB's area under the curve of the signed selection, with its interval; ``None`` unless scores were
            evaluated at two or more sizes.
        cmd_area: MIB's area between the curve of the absolute selection and 1; likewise.
        tests: the hypothesis tests made on the circuit.
    """

    points: tuple[Point, ...]
    clean: Float[Tensor, "prompts"]
    corrupt: Float[Tensor, "prompts"]
    empty: Float[Tensor, "prompts"]
    per_prompt: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    cpr_area: Area | None = None
    cmd_area: Area | None = None
    tests: tuple[HypothesisTest, ...] = ()

    @property
    def evaluated(self) -> Mapping[str, Any]:
        """The metadata of the circuit, or of the first of those that were selected; empty if it is not recorded."""
        return _mapping(self.metadata.get("evaluated"))

    @property
    def selection(self) -> Mapping[str, Any]:
        """How circuits were selected, such as the method's name; empty if it is not recorded."""
        return _mapping(self.evaluated.get("selection"))

    @property
    def faithfulness(self) -> float:
        """The faithfulness of the circuit, if there is just one.

        Raises:
            UsageError: if there are several points.
        """
        if len(self.points) != 1:
            raise UsageError(f"there are {len(self.points)} circuits; read the faithfulness of each from .points")
        return self.points[0].faithfulness

    @property
    def cpr(self) -> float | None:
        """The circuit performance ratio, MIB's area under the curve of the signed selection; see ``cpr_area``."""
        return None if self.cpr_area is None else self.cpr_area.value

    @property
    def cmd(self) -> float | None:
        """The circuit-model distance, MIB's area between the absolute selection's curve and 1; see ``cmd_area``."""
        return None if self.cmd_area is None else self.cmd_area.value

    def __repr__(self) -> str:
        """Summarize the evaluation in one line."""
        areas = [
            f", {name} {area.value:.3f}" for name, area in (("CPR", self.cpr_area), ("CMD", self.cmd_area)) if area
        ]
        kept = f"faithfulness {self.faithfulness:.3f}" if len(self.points) == 1 else f"{len(self.points)} points"
        return f"<Evaluation: {kept}{''.join(areas)}, {len(self.clean)} prompts>"

    def table(self) -> str:
        """Return a table of the points, and the areas, as text."""
        metric = str(self.metadata.get("metric", "metric"))
        rows = [["selected", "share", "by", "edges", metric, "faithfulness", "95 %", "random", "95 %"]]
        rows += [_row(point) for point in self.points]
        used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
        widths = [max(len(row[i]) for row in rows) for i in used]
        lines = ["  ".join(row[i].rjust(width) for i, width in zip(used, widths, strict=True)) for row in rows]
        lines += [
            _area(name, area) for name, area in (("CPR", self.cpr_area), ("CMD", self.cmd_area)) if area is not None
        ]
        lines += [_test(test) for test in self.tests]
        if not self.per_prompt:
            lines.append(f"no intervals: {metric} gives only a mean, not one number per prompt")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as in the JSON file."""
        return {
            _KEY: {"schema": SCHEMA, "kind": _KIND},
            "points": [
                {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(point).items()}
                | {"mean": point.mean, "random_mean": point.random_mean}
                for point in self.points
            ],
            "clean": self.clean.tolist(),
            "corrupt": self.corrupt.tolist(),
            "empty": self.empty.tolist(),
            "per_prompt": self.per_prompt,
            "cpr": None if self.cpr_area is None else self.cpr_area._asdict(),
            "cmd": None if self.cmd_area is None else self.cmd_area._asdict(),
            "tests": [asdict(test) for test in self.tests],
            "metadata": self.metadata,
        }

    def save(self, path: str | Path) -> None:
        """Write to a JSON file.

        Raises:
            UsageError: if the folder does not exist.
            EapPluginError: if the file cannot be written.
        """
        write_whole(Path(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @staticmethod
    def load(path: str | Path) -> Evaluation:
        """Read a file that ``save`` wrote.

        Raises:
            UsageError: if the file is missing, was not written by ``save``, is damaged, or has a newer schema.
            EapPluginError: if the file cannot be read.
        """
        path = Path(path)
        try:
            document = json.loads(read_text(path))
            if not (isinstance(document, dict) and document[_KEY]["kind"] == _KIND):
                raise UsageError(f"{path} is not an evaluation; `eap evaluate` writes one")
            if int(document[_KEY]["schema"]) > SCHEMA:
                raise UsageError(
                    f"{path} has schema {document[_KEY]['schema']}, this version reads up to {SCHEMA}; upgrade "
                    f"eap-plugin to read it"
                )
            return _parse(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path} is not a complete evaluation ({error!r}); save it again") from error


def is_evaluation(path: Path) -> bool:
    """Return whether a file begins as one that ``Evaluation.save`` wrote does."""
    try:
        with path.open("rb") as file:
            return bool(_OPENING.match(file.read(1024).decode(errors="replace")))
    except OSError:
        return False


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _parse(document: dict[str, Any]) -> Evaluation:
    points = []
    for given in document["points"]:
        known = {name: value for name, value in given.items() if name not in ("mean", "random_mean")}
        for name in ("metric", "random_faithfulness"):
            known[name] = torch.tensor(known[name], dtype=torch.float64)
        for name in ("interval", "random_band"):
            known[name] = _interval(known[name])
        points.append(Point(**known))
    clean, corrupt, empty = (
        torch.tensor(document[name], dtype=torch.float64) for name in ("clean", "corrupt", "empty")
    )
    cpr, cmd = (
        None if document[name] is None else Area(document[name]["value"], _interval(document[name]["interval"]))
        for name in ("cpr", "cmd")
    )
    tests = tuple(read_test(test) for test in document.get("tests", ()))
    return Evaluation(
        tuple(points), clean, corrupt, empty, bool(document["per_prompt"]), dict(document["metadata"]), cpr, cmd, tests
    )


def _interval(given: list[float] | None) -> Interval | None:
    return None if given is None else Interval(*given)


def _row(point: Point) -> list[str]:
    by = "" if point.signed is None else "score" if point.signed else "|score|"
    random = "" if point.random_mean is None else _number(point.random_mean)
    return [
        str(point.size), f"{100 * point.fraction:.3g} %", by, str(point.n_edges), f"{point.mean:.4g}",
        _number(point.faithfulness), _range(point.interval), random, _range(point.random_band),
    ]  # fmt: skip


def _number(value: float) -> str:
    """Format with three decimals, never as negative zero."""
    return f"{round(value, 3) + 0.0:.3f}"


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"{_number(interval.low)} to {_number(interval.high)}"


def _area(name: str, area: Area) -> str:
    interval = f" (95 %: {_range(area.interval)})" if area.interval else ""
    return f"{name} {area.value:.4f}{interval}"


def _test(test: HypothesisTest) -> str:
    return f"{test.name}: {'passed' if test.passed else 'not passed'} (p = {test.p_value:.2g}). {test.sentence}"

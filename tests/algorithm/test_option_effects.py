"""Every option that is given changes what is computed, or is refused because it would not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import eap_plugin
from eap_plugin import Batch, UsageError
from eap_plugin.cli import main
from eap_plugin.host.options import build_options, describe_options
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.exhaustive

SAME_SCORES = {
    "dtype": "in which scores are added up; that of a float32 model is float32 anyway",
    "edges_per_pass": "how many runs share a pass",
    "checkpoint": "where the training is kept",
    "checkpoint_every": "how often",
}
"""Options that are to change time, memory or rounding alone."""

OTHER: dict[str, list[Any]] = {
    "level": ["node"],
    "ablation": ["zero", "mean"],
    "answer_diff": [False],
    "positions": [True],
    "qkv": ["summed"],
    "mask": [0.3],
    "samples": [2],
    "grad_function": ["prob"],
    "answer_function": ["avg_val", "mse"],
    "steps": [3],
    "length": [0.5],
    "rule": ["midpoint"],
    "scored": ["all"],
    "temperature": [1.0],
    "freeze_norms": [False],
    "halve_products": [False],
    "attention": ["constant"],
    "grad_drop": [False],
    "lowest": [0.05],
    "highest": [0.5],
    "thresholds": [3],
    "learning_rate": [0.5],
    "sparsity": [None, 0.3],
    "warmup": [2],
    "penalty": [5.0],
    "patience": [1],
    "seed": [1],
    "average": ["absolute"],
}
"""Values other than the default."""

BESIDE: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in eap_plugin.algorithms()),
    *((name, {"level": "node"}) for name in ("eap", "mask-gradient", "atp-star", "exact")),
    ("eap", {"level": "neuron"}),
    ("mask-gradient", {"samples": 2}),
    ("mask-gradient", {"mask": 0.5}),
    *(("mask-gradient", {"grad_function": "prob", "answer_function": a}) for a in ("avg_diff", "avg_val", "mse")),
    ("atp-star", {"grad_drop": False}),
    ("acdc", {"thresholds": 1, "highest": 0.3}),
    ("edge-pruning", {"sparsity": None}),
    ("edge-pruning", {"warmup": 1, "patience": 1}),
    ("gim", {"halve_products": False, "freeze_norms": False, "temperature": 1.0}),
]
"""Algorithms, with options beside which others are tried."""


@pytest.fixture(scope="module")
def model() -> Any:
    return eap_plugin.wrap_model(bridge(build("llama")))


@pytest.fixture(scope="module")
def score_file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("scores") / "scores.safetensors"
    eap_plugin.prune_scores(model, Batch(*prompts(2, 4))).save(path)
    return str(path)


def outcome(model: Any, algorithm: str, options: dict[str, Any]) -> torch.Tensor | str:
    """Return the scores, or the error message that refuses the options."""
    data = Batch(*prompts(2, 4))
    try:
        return eap_plugin.prune_scores(model, data, algorithm=algorithm, **options).matrix
    except UsageError as refused:
        return str(refused)


@pytest.mark.parametrize(("algorithm", "options"), BESIDE, ids=str)
def test_an_option_has_an_effect_or_is_refused(
    algorithm: str, options: dict[str, Any], model: Any, score_file: str
) -> None:
    given = {"acdc": {"thresholds": 2}, "edge-pruning": {"steps": 6}}.get(algorithm, {}) | options
    plain = outcome(model, algorithm, given)
    assert isinstance(plain, torch.Tensor)
    declared = {info.name: info for info in describe_options(eap_plugin.algorithms()[algorithm].options)}
    for name in declared.keys() - SAME_SCORES.keys() - options.keys():
        for value in (OTHER | {"start": [score_file]})[name]:
            found = outcome(model, algorithm, given | {name: value})
            if isinstance(found, str):
                assert re.search(f"{algorithm} option '.*' has no effect while ", found), (name, value)
            else:
                assert found.shape != plain.shape or not torch.equal(found, plain), (name, value)


@pytest.mark.parametrize(
    ("algorithm", "options", "said"),
    [
        (
            "mask-gradient",
            {"answer_function": "avg_val"},
            "'answer_function' has no effect while grad_function is metric",
        ),
        ("mask-gradient", {"mask": 0.5, "samples": 3}, "'mask' has no effect while samples is not 0"),
        (
            "mask-gradient",
            {"grad_function": "prob", "answer_function": "mse", "answer_diff": False},
            "'answer_diff' has no effect while answer_function is mse",
        ),
        ("eap", {"level": "neuron", "qkv": "summed"}, "'qkv' has no effect while level is neuron"),
        ("acdc", {"thresholds": 1, "lowest": 0.1}, "'lowest' has no effect while thresholds is 1"),
        ("edge-pruning", {"checkpoint_every": 5}, "'checkpoint_every' has no effect while checkpoint is none"),
        (
            "edge-pruning",
            {"sparsity": None, "warmup": 5},
            "'warmup' has no effect while sparsity and patience are none",
        ),
        (
            "edge-pruning",
            {"steps": 200, "patience": 50},
            "'patience' has no effect while warmup and twice patience are all of the steps",
        ),
    ],
)
def test_what_a_refusal_says(algorithm: str, options: dict[str, Any], said: str, model: Any) -> None:
    line = f"{algorithm} option {said}; change that, or leave it out"
    assert outcome(model, algorithm, options) == line
    as_text = [part for name, value in options.items() for part in ("-O", f"{name}={value}")]
    found = CliRunner().invoke(main, ["run", "no-such-model", "--task", "ioi", "--algorithm", algorithm, *as_text])
    assert (found.exit_code, found.stderr) == (2, f"Error: {line}\n")


@pytest.mark.parametrize("algorithm", list(eap_plugin.algorithms()))
def test_defaults_may_be_given(algorithm: str) -> None:
    """As who gives the options that a score file names."""
    declared = eap_plugin.algorithms()[algorithm].options
    defaults = {info.name: info.default for info in describe_options(declared)}
    assert build_options(declared, defaults, algorithm) == declared()


def test_data_to_take_means_over_that_no_mean_is_taken_over(model: Any) -> None:
    data = Batch(*prompts(2, 4))
    for algorithm in ("eap", "exact", "acdc", "edge-pruning"):
        for ablation in ("corrupt", "zero"):
            with pytest.raises(
                UsageError,
                match=rf"\Aablation_data \(--ablation-task\) is only used to take means, but {algorithm}'s ablation "
                f"is {ablation}; choose ablation=mean or mean-per-position, or leave it out",
            ):
                eap_plugin.prune_scores(model, data, algorithm=algorithm, ablation=ablation, ablation_data=data)


def test_resuming_without_parts(model: Any) -> None:
    with pytest.raises(
        UsageError, match="resume continues from the finished requests in parts; pass that folder as parts="
    ):
        eap_plugin.prune_scores(model, Batch(*prompts(2, 4)), resume=True)

"""Scores kept by group of prompts: one run gives what separate runs on each group's prompts give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin import Batch, EapPluginError, UsageError
from eap_plugin.algorithm.gradient.base import ScoringContext
from eap_plugin.algorithm.gradient.eap import EAP
from eap_plugin.data.microbatches import microbatches
from eap_plugin.data.prompt_groups import assign_groups, group_weights
from eap_plugin.host.options import build_options
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.run_constraints import RunConstraints
from tests.algorithm.test_costs import Counter
from tests.backend.nnsight.test_nnsight import difference
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

DATA = [Batch(*prompts(7, 7)), Batch(*prompts(4, 5, seed=1)), Batch(*prompts(1, 6, seed=2))]
K = 3
ALGORITHMS = eap_plugin.algorithms()
ADDITIVE = [name for name in ALGORITHMS if ALGORITHMS[name].additive]
STEPS = {name: {"steps": 2} for name in ("eap-ig-inputs", "eap-ig-activations", "eap-gp")}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, STEPS.get(name, {})) for name in ADDITIVE),
    ("eap", {"level": "node"}),
    ("eap", {"level": "neuron"}),
    ("eap", {"positions": True, "qkv": "summed"}),
    ("eap", {"level": "neuron", "positions": True, "ablation": "zero"}),
    ("eap", {"ablation": "mean"}),
    ("atp-star", {"positions": True}),
    ("atp-star", {"level": "node", "grad_drop": False}),
    ("exact", {"level": "node", "ablation": "mean"}),
    ("information-flow-routes", {"positions": True}),
]


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    return eap_plugin.wrap_model(bridge(build("gpt2", torch.float64)))


def separately(model: ResidualModel, algorithm: str, options: dict[str, Any]) -> Tensor:
    """Score the prompts of each group of each batch in a run of their own, with means over all of the data."""
    means = {"ablation_data": DATA} if options.get("ablation") == "mean" else {}
    parts: dict[tuple[int, int], Tensor] = {}
    for place, batch in enumerate(assign_groups(DATA, K)):
        assert batch.groups is not None
        for group in range(K):
            if bool((rows := batch.groups[:, group]).any()):
                scores = eap_plugin.prune_scores(
                    model, [batch.select(rows.nonzero().flatten())], algorithm=algorithm, **means, **options
                )
                parts[place, group] = scores.matrix * rows.double().mean()
    longest = max((part for part in parts.values()), key=len)
    total = longest.new_zeros(K, *longest.shape)
    for (_, group), part in parts.items():
        total[group, : len(part)] += part
    return total


@pytest.mark.parametrize(("algorithm", "options"), CASES, ids=lambda case: str(case))
def test_one_run_gives_what_separate_runs_give(algorithm: str, options: dict[str, Any], model: ResidualModel) -> None:
    expected = separately(model, algorithm, options)
    for how in ({}, {"batch_size": 2}, {"prompts_per_request": 5, "batch_size": 3}):
        scores = eap_plugin.prune_scores(model, DATA, algorithm=algorithm, groups=K, **how, **options)
        assert scores.groups is not None
        assert difference(scores.groups, expected) <= 1e-12
        assert difference(scores.groups.sum(0), scores.matrix) <= 1e-14
        assert scores.metadata["n_groups"] == K
        assert torch.equal(scores.group_weights, group_weights(assign_groups(DATA, K)))


def test_scores_do_not_change(model: ResidualModel) -> None:
    plain, grouped = (eap_plugin.prune_scores(model, DATA, groups=n) for n in (None, K))
    assert difference(grouped.matrix, plain.matrix) <= 1e-14
    assert plain.groups is None and "n_groups" not in plain.metadata
    assert grouped.metadata["clean_metric"] == pytest.approx(plain.metadata["clean_metric"], rel=1e-14)


@pytest.mark.parametrize("ablation", ["corrupt", "mean"])
@pytest.mark.parametrize("algorithm", [name for name in ADDITIVE if ALGORITHMS[name].keeps_groups])
def test_a_gradient_method_needs_no_further_pass(algorithm: str, ablation: str, model: ResidualModel) -> None:
    options = build_options(
        ALGORITHMS[algorithm].options, {"ablation": ablation, **STEPS.get(algorithm, {})}, algorithm
    )
    metric, counts = eap_plugin.metrics()["logit_diff"], []
    for n_groups in (None, K):
        counter, data = Counter(), microbatches(assign_groups(DATA, n_groups), 4)

        def program(model: Any, counter: Counter = counter, data: Any = data) -> None:
            with counter.watching(model):
                ALGORITHMS[algorithm].attribute(model, data, metric, options, lambda pieces=1.0: None)

        model.run(program)
        counts.append((counter.forwards, counter.backwards))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("algorithm", ["eap", "exact"])
def test_progress_is_that_of_all_prompts(algorithm: str, model: ResidualModel) -> None:
    told: list[tuple[int, int]] = []
    eap_plugin.prune_scores(
        model, DATA, algorithm=algorithm, groups=K, batch_size=2, progress=lambda *done: told.append(done)
    )
    assert told[-1] == (12, 12) and [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_run_goes_on_with_parts_of_the_same_groups(model: ResidualModel, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 6:
            raise KeyboardInterrupt

    how: dict[str, Any] = {"prompts_per_request": 3, "parts": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        eap_plugin.prune_scores(model, DATA, groups=K, progress=stop, **how)
    kept = len(list(tmp_path.iterdir()))
    assert kept
    with pytest.raises(eap_plugin.UsageError, match=rf"those here differ in: n groups \({K}, now 4\)"):
        eap_plugin.prune_scores(model, DATA, groups=4, resume=True, **how)
    assert len(list(tmp_path.iterdir())) == kept
    resumed = eap_plugin.prune_scores(model, DATA, groups=K, resume=True, **how)
    expected = eap_plugin.prune_scores(model, DATA, groups=K)
    assert resumed.groups is not None and expected.groups is not None
    assert difference(resumed.groups, expected.groups) <= 1e-12


@pytest.mark.parametrize("algorithm", ["eap", "exact", "atp-star"])
def test_on_a_server_it_is_one_request(algorithm: str) -> None:
    there = nnsight.NNsight(build("llama"))
    here, remote = (
        eap_plugin.prune_scores(there, DATA, algorithm=algorithm, groups=K, remote=where) for where in (False, "local")
    )
    assert torch.equal(remote.groups, here.groups)
    assert remote.metadata["remote"]["requests"] == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"groups": 1}, "groups must be between 2 and the number of prompt pairs, 12; got 1"),
        ({"groups": 13}, "groups must be between 2 and the number of prompt pairs, 12; got 13"),
        *(
            ({"groups": 2, "algorithm": name}, f"scores of {name} are not sums over prompts, .* run it without groups")
            for name in ALGORITHMS
            if not ALGORITHMS[name].additive
        ),
    ],
)
def test_refusals(how: dict[str, Any], said: str, model: ResidualModel) -> None:
    with pytest.raises(UsageError, match=said):
        eap_plugin.prune_scores(model, DATA, **how)


def test_batches_that_must_be_run_whole(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = eap_plugin.prune_scores(model, DATA, groups=K)
    monkeypatch.setattr(type(model), "run_constraints", RunConstraints(whole_batches=True))
    whole = eap_plugin.prune_scores(model, DATA, groups=K)
    assert whole == expected and torch.equal(whole.groups, expected.groups)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="exact runs the prompts of each group separately, .* leave groups out"):
        eap_plugin.prune_scores(model, DATA, algorithm="exact", groups=K)


class PastTheGroups(EAP):
    """Adds scores to the total, and to no group."""

    def score_microbatch(self, context: ScoringContext, options: Any) -> tuple[float | None, float | None]:
        context.scorer.matrix[:] += 1e-3
        return EAP.score_microbatch(self, context, options)


def test_scores_without_a_group_are_noticed(model: ResidualModel) -> None:
    with pytest.raises(EapPluginError, match="returned sums over groups of prompts that do not add up to its scores"):
        eap_plugin.prune_scores(model, DATA, algorithm=PastTheGroups(), groups=K, level="neuron")

"""Every mistake a user can make through the Python interface: one line that says what, and what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.runner.finite import cause
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import build, prompts


@pytest.fixture(scope="module")
def model() -> Any:
    return bridge(build("gpt2"))


def fails(message: str, error: type[Exception] = eap_plugin.UsageError) -> Any:
    return pytest.raises(error, match=rf"\A[^\n]*{message}[^\n]*\Z")


def batch(**parts: Any) -> Batch:
    clean, corrupt, answers, wrong = prompts(3, 6)
    return Batch(**{"clean": clean, "corrupt": corrupt, "answers": answers, "wrong_answers": wrong} | parts)


def test_unknown_names(model: Any) -> None:
    with fails("unknown algorithm 'eapp'; did you mean 'eap'"):
        eap_plugin.prune_scores(model, [batch()], algorithm="eapp")
    with fails("unknown metric 'logit_dif'; did you mean 'logit_diff'"):
        eap_plugin.prune_scores(model, [batch()], metric="logit_dif")
    with fails("unknown backend 'transformerlens'; did you mean 'transformer_lens'"):
        eap_plugin.load_model("ioi-gpt2", backend="transformerlens")
    with fails("unknown task 'ioii'; did you mean 'ioi'"):
        eap_plugin.load_task("ioii", model)


def test_wrong_options(model: Any) -> None:
    with fails("unknown eap option 'position'; did you mean 'positions'"):
        eap_plugin.prune_scores(model, [batch()], position=True)
    with fails("'qkv' must be one of.*separate.*summed.*got 'joined'"):
        eap_plugin.prune_scores(model, [batch()], qkv="joined")
    with fails("batch_size must be at least 1, got 0"):
        eap_plugin.prune_scores(model, [batch()], batch_size=0)


def test_a_model_nobody_knows() -> None:
    with fails("no backend accepts a torch.nn.modules.linear.Linear"):
        eap_plugin.prune_scores(torch.nn.Linear(2, 2), [batch()])


@pytest.mark.parametrize("name", ["./no-such-folder", "/no/such/folder"])
def test_a_model_folder_that_is_not_one(name: str) -> None:
    with fails("is not a model folder: it has no config.json"):
        eap_plugin.load_model(name)


def test_a_dtype_that_is_not_one() -> None:
    with fails("unknown dtype 'float7'; expected auto, float32"):
        eap_plugin.load_model("ioi-gpt2", dtype="float7")


def test_batches_that_do_not_fit() -> None:
    with fails(r"the same shape, got \[3, 6\] and \[3, 5\]; pad both"):
        batch(corrupt=prompts(3, 5)[1])
    with fails(r"answers must be \[batch=3, n\] token ids, got \[2, 1\]"):
        batch(answers=prompts(2, 6)[2])
    with fails(r"attention_mask must have the prompts' shape \[3, 6\], got \[3, 5\]"):
        batch(attention_mask=torch.ones(3, 5, dtype=torch.bool))
    with fails("marks every token of a prompt as padding"):
        batch(attention_mask=torch.zeros(3, 6, dtype=torch.bool))


def test_data_that_is_not_batches(model: Any) -> None:
    with fails("SimpleNamespace lacks .answers, .wrong_answers"):
        eap_plugin.prune_scores(model, [SimpleNamespace(clean=1, corrupt=2)])
    with fails("the data contains no batches"):
        eap_plugin.prune_scores(model, [])


def test_ids_beyond_the_vocabulary(model: Any) -> None:
    with fails("answers has token ids from 64 to 64, but test-model has 64 tokens"):
        eap_plugin.prune_scores(model, [batch(answers=torch.full((3, 1), 64))])


def test_text_without_a_tokenizer(model: Any) -> None:
    with fails("no tokenizer"):
        eap_plugin.load_task("ioi", model)


def test_a_metric_that_is_flat_where_the_gradient_is_taken(model: Any) -> None:
    with fails("metric 'kl' is at its optimum on the clean run.*every score would be zero"):
        eap_plugin.prune_scores(model, [batch()], metric="kl")


def test_a_metric_that_does_not_depend_on_the_model(model: Any) -> None:
    with fails("the metric has no gradient; choose another, such as logit_diff"):
        eap_plugin.prune_scores(model, [batch()], metric=lambda logits, batch: logits[:, 0].detach())


def flat_root(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Finite, with a gradient that is not."""
    return logits[:, 0] + (logits[:, 1] * 0).abs().sqrt()


def nan_where_clean(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """NaN on every prompt but those whose first logit is that of the corrupt run."""
    return torch.where(torch.isclose(logits[:, 0], ON_CORRUPT, atol=1e-5), logits[:, 0], torch.nan)


ON_CORRUPT = build("gpt2")(batch().corrupt).logits[:, -1, 0].detach()


@pytest.mark.parametrize("algorithm", ["eap", "eap-ig-inputs", "exact", "acdc", "edge-pruning"])
def test_a_metric_that_is_no_number(algorithm: str, model: Any) -> None:
    def not_a_number(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return (logits[:, 0] - 1000).log()

    def infinite(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return logits[:, 0] * torch.inf

    options = QUICK.get(algorithm, {})
    for metric, on_clean, on_corrupt in (
        (not_a_number, "nan", "nan"),
        (infinite, "nan|-?inf", "nan|-?inf"),
        (nan_where_clean, "nan", r"-?[\d.]+"),
    ):
        with fails(
            rf"\Ametric '{metric.__name__}' is ({on_clean}) on the clean and ({on_corrupt}) on the corrupt prompts; it "
            "must be a finite number on both",
            eap_plugin.EapPluginError,
        ):
            eap_plugin.prune_scores(model, [batch()], metric=metric, algorithm=algorithm, **options)


def test_a_metric_whose_gradient_is_no_number(model: Any) -> None:
    with fails(
        r"\Athe gradient of metric 'flat_root' is not finite on the clean prompts, though its value is",
        eap_plugin.EapPluginError,
    ):
        eap_plugin.prune_scores(model, [batch()], metric=flat_root)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.nan, "test-model gives NaN: weights hold NaN (lm_head.weight)"),
        (3e38, "test-model (torch.float32) gives NaN logits on the clean prompts; load it"),
    ],
)
def test_logits_that_are_no_numbers(weight: float, message: str) -> None:
    module = build("gpt2")
    module.lm_head.weight = torch.nn.Parameter(torch.full_like(module.lm_head.weight, weight))
    wrapped = eap_plugin.wrap_model(bridge(module))
    said = wrapped.run(cause, microbatches([batch()], None), eap_plugin.metrics()["logit_diff"])
    assert said is not None
    assert said.startswith(message)


def test_ids_that_are_no_whole_numbers(model: Any) -> None:
    for name in ("clean", "corrupt", "answers", "wrong_answers"):
        said = rf"\A{name} must hold token ids of dtype torch.int64, got torch.float32; use the tokenizer's"
        floats = getattr(batch(), name).float()
        with fails(said):
            batch(**{name: floats})
        for given in (floats, list(floats)) if "answers" in name else (floats,):
            with fails(said):
                eap_plugin.prune_scores(model, [SimpleNamespace(**vars(batch()) | {name: given})])
    smaller = SimpleNamespace(**{name: getattr(batch(), name).int() for name in ("clean", "corrupt", "answers")})
    smaller.wrong_answers = list(batch().wrong_answers.int())
    assert eap_plugin.prune_scores(model, [smaller]) == eap_plugin.prune_scores(model, [batch()])


def test_batches_may_be_any_objects_with_the_right_parts(model: Any) -> None:
    clean, corrupt, answers, wrong = prompts(3, 6)
    plain = eap_plugin.prune_scores(model, [batch()])
    like_auto_circuit = SimpleNamespace(clean=clean, corrupt=corrupt, answers=list(answers), wrong_answers=list(wrong))
    assert eap_plugin.prune_scores(model, iter([like_auto_circuit])) == plain
    assert eap_plugin.prune_scores(model, batch()) == plain


def test_progress_counts_prompts(model: Any) -> None:
    seen: list[tuple[int, int]] = []
    eap_plugin.prune_scores(model, [batch(), batch()], batch_size=2, progress=lambda *at: seen.append(at))
    assert seen == [(2, 6), (3, 6), (5, 6), (6, 6)]


def test_prompts_longer_than_the_context(model: Any) -> None:
    long = torch.ones(1, 33, dtype=torch.long)
    with fails("prompts have up to 33 tokens, but test-model takes at most 32; shorten them"):
        eap_plugin.prune_scores(model, [Batch(long, long * 2, long[:, :1], long[:, :1])])


def test_a_metric_that_is_no_function(model: Any) -> None:
    with fails("a metric is a name or a function of"):
        eap_plugin.prune_scores(model, [batch()], metric=5)


def test_a_loader_without_the_beginnings_of_its_prompts(model: Any) -> None:
    class Loader(list[Any]):
        kv_cache = object()

    with fails("tail_divergence=False"):
        eap_plugin.prune_scores(model, Loader([batch()]))


def test_batches_of_nothing() -> None:
    empty = torch.zeros(0, 4, dtype=torch.long)
    with fails("at least one prompt pair"):
        Batch(empty, empty, empty[:, :1], empty[:, :1])
    with fails("every prompt needs at least one right answer"):
        batch(answers=torch.full((3, 2), -1))
    with fails("attention_mask must be boolean"):
        batch(attention_mask=torch.ones(3, 6, dtype=torch.long))


def test_provenance(model: Any) -> None:
    about = eap_plugin.prune_scores(model, [batch()], answer_diff=False).metadata
    assert about["algorithm"] == "eap"
    assert about["options"]["answer_diff"] is False
    assert (about["model"], about["n_prompts"], about["gradient_run"]) == ("test-model", 3, "clean")
    assert about["provenance"]["backend"] == "transformer_lens"
    assert {"torch", "eap-plugin", "python"} <= set(about["versions"])
    assert len(about["task_digest"]) == 64

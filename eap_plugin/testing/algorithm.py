"""Checks that every algorithm must pass, on the shipped models and the backends that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.algorithm.base import Algorithm
from eap_plugin.api import algorithms, backends, metrics
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.host.options import build_options, describe_options
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.testing.state import left_as_found
from eap_plugin.testing.watched import InTheMiddleError, Watched

MODELS = ("ioi-gpt2", "ioi-llama")
"""One has layer norms and as many key/value heads as heads; the other has RMS norms and fewer."""

REFERENCE = "transformer_lens"
"""The backend on which the checks run."""

OTHERS = ("nnsight",)
"""The backends that must agree with it, if they are installed."""

SERVED = "nnsight"
"""The backend whose models can run on a server."""


class Chosen(NamedTuple):
    """The name of an algorithm, with options for it."""

    name: str
    options: Mapping[str, Any]


class AlgorithmTests:
    """Checks of one algorithm; subclass this in a test module and set ``algorithm``.

    Attributes:
        algorithm: the name it is registered under.
        options: options to test it with, such as fewer steps for speed; the others keep their defaults.
        metric: the metric to attribute.
        tolerance: the largest difference of a score, relative to the largest score, that counts as rounding error on
            float64 models.
    """

    algorithm: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    metric: ClassVar[str] = "logit_diff"
    tolerance: ClassVar[float] = 1e-6

    @pytest.fixture
    def chosen(self) -> Chosen:
        """Choose what is tested; override this with a parametrized fixture to test several."""
        return Chosen(self.algorithm, self.options)

    @pytest.fixture
    def provider(self, chosen: Chosen) -> Algorithm[Any]:
        """Look up the algorithm."""
        found: Algorithm[Any] = algorithms()[chosen.name]
        return found

    @pytest.fixture(params=MODELS)
    def model(self, request: pytest.FixtureRequest) -> ResidualModel:
        """Load a model to run it on."""
        return load(request.param, REFERENCE)

    def score(self, model: ResidualModel, chosen: Chosen, *batches: Batch, size: int | None = None) -> PruneScores:
        """Score the batches with the algorithm."""
        found = eap_plugin.prune_scores(
            model, list(batches), algorithm=chosen.name, metric=self.metric, batch_size=size, **chosen.options
        )
        assert isinstance(found, PruneScores)
        return found

    def assert_close(self, found: Tensor, expected: Tensor) -> None:
        """Check that scores are equal up to rounding."""
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=self.tolerance * largest)

    def test_it_says_what_it_is(self, chosen: Chosen, provider: Algorithm[Any]) -> None:
        """Name, summary and reference are one line each, and every option has a help text."""
        assert provider.name == chosen.name
        for text in (provider.summary, provider.reference):
            assert text.strip()
            assert "\n" not in text
        assert provider.gradient_run in ("clean", "corrupt", "between", "none")
        for option in describe_options(provider.options):
            assert option.help, f"option {option.name} has no help"

    def test_the_same_data_give_the_same_scores(self, chosen: Chosen, model: ResidualModel) -> None:
        """Scores are bitwise the same when computed again and not all zero, and the data are not changed."""
        batch, copy = prompts(model), prompts(model)
        found, again = self.score(model, chosen, batch), self.score(model, chosen, batch)
        assert bool(found.matrix.any()), "every score is zero"
        assert torch.equal(found.matrix, again.matrix)
        for name in ("clean", "corrupt", "answers", "wrong_answers"):
            assert torch.equal(getattr(batch, name), getattr(copy, name)), f"{name} was changed"

    def test_batches_and_pieces_add_up(self, chosen: Chosen, provider: Algorithm[Any], model: ResidualModel) -> None:
        """Scores of batches add up, and so do those of microbatches; non-additive algorithms must accept both, too."""
        batch = prompts(model)
        first, second = trimmed(batch.select(slice(0, 2))), batch.select(slice(2, 6))
        assert first.clean.shape[1] < second.clean.shape[1]
        both, in_pieces = self.score(model, chosen, first, second), self.score(model, chosen, batch, size=4)
        assert both.graph == in_pieces.graph
        if provider.additive:
            parts = [self.score(model, chosen, part).matrix for part in (first, second)]
            self.assert_close(both.matrix, parts[0] + parts[1])
            self.assert_close(in_pieces.matrix, self.score(model, chosen, batch).matrix)

    def test_passes_are_as_declared(self, chosen: Chosen, provider: Algorithm[Any], model: ResidualModel) -> None:
        """Forward and backward passes are those that ``cost`` declares; ``progress`` adds up to all microbatches."""
        options = build_options(provider.options, chosen.options, chosen.name)
        parts, done = microbatches([prompts(model)], 3), list[float]()
        watched = Watched(model)
        watched.run(provider.attribute, parts, metrics()[self.metric], options, lambda n=1.0: done.append(n))
        n_prompts = sum(len(part.batch) for part in parts)
        counted = (watched.prompts / n_prompts, watched.prompts_back / n_prompts)
        assert counted == provider.cost(options, model.graph)
        assert sum(done) == pytest.approx(len(parts))

    def test_the_model_is_left_as_it_was(self, chosen: Chosen, model: ResidualModel) -> None:
        """Hooks, modes, flags, weights and gradients are restored."""
        with left_as_found(model):
            self.score(model, chosen, prompts(model))

    @pytest.mark.parametrize("where", ["first pass", "last pass", "progress"])
    def test_the_model_is_left_as_it_was_by_a_failure(
        self, where: str, chosen: Chosen, provider: Algorithm[Any], model: ResidualModel
    ) -> None:
        """Everything is restored also if a pass fails half-way, and the exception is passed on."""
        options = build_options(provider.options, chosen.options, chosen.name)

        def score(watched: Watched, fail: bool) -> None:
            def progress(pieces: float = 1.0) -> None:
                if fail:
                    raise InTheMiddleError

            watched.run(
                provider.attribute, microbatches([prompts(model)], None), metrics()[self.metric], options, progress
            )

        fail_at = 1 if where == "first pass" else None
        if where == "last pass":
            whole = Watched(model)
            score(whole, fail=False)
            fail_at = whole.forwards
        with left_as_found(model), pytest.raises(InTheMiddleError):
            score(Watched(model, fail_at), fail=True)

    def test_backends_agree(self, chosen: Chosen, model: ResidualModel) -> None:
        """Scores are the same on every backend."""
        expected = self.score(model, chosen, prompts(model))
        for name in OTHERS:
            if backends()[name].missing() is None:
                self.assert_close(self.score(load(model.name, name), chosen, prompts(model)).matrix, expected.matrix)

    def test_it_can_run_on_a_server(self, chosen: Chosen, model: ResidualModel) -> None:
        """Its code can be sent to a server, here a simulated one if nnsight is installed, and gives the same scores."""
        if backends()[SERVED].missing() is None:
            here = eap_plugin.load_model(model.name, backend=SERVED)
            there = eap_plugin.load_model(model.name, backend=SERVED, remote="local")
            found = self.score(there, chosen, prompts(model))
            self.assert_close(found.matrix, self.score(here, chosen, prompts(model)).matrix)


@cache
def load(name: str, backend: str) -> ResidualModel:
    """Load a shipped model in float64 and run it once, since some libraries add hooks of their own on the first run."""
    model = eap_plugin.load_model(name, backend=backend, dtype="float64")
    eap_plugin.check(model)
    return model


def trimmed(batch: Batch) -> Batch:
    """Remove the padding that all prompts of a batch share."""
    width = int(batch.last.max()) + 1
    mask = None if batch.attention_mask is None else batch.attention_mask[:, :width]
    return replace(batch, clean=batch.clean[:, :width], corrupt=batch.corrupt[:, :width], attention_mask=mask)


def prompts(model: ResidualModel) -> Batch:
    """Make six prompt pairs of different lengths."""
    return eap_plugin.load_task("ioi", model, n_prompts=6).batch()

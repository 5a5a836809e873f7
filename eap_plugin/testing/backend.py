"""Checks that every backend must pass on a small model of its own kind, using only ``ResidualModel``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

import eap_plugin
from eap_plugin.algorithm.gradient.uniform_edge_mask import UniformEdgeMask
from eap_plugin.api import backends, metrics
from eap_plugin.data.batch import Batch
from eap_plugin.data.prompts import Prompts
from eap_plugin.errors import EapPluginError
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import SITES, Site, Visitor
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.testing.sites import WATCHED_ONLY, Run, assert_in_order, expected_shape
from eap_plugin.testing.state import left_as_found
from eap_plugin.testing.watched import InTheMiddleError

N_PROMPTS, N_POS = 3, 6


class BackendTests:
    """Checks of one backend; subclass this in a test module, set ``backend`` and define ``make``.

    Attributes:
        backend: the name it is registered under.
        tolerance: the largest difference, relative to the largest number compared, that counts as rounding error.
    """

    backend: ClassVar[str]
    tolerance: ClassVar[float] = 1e-5

    def make(self) -> Any:
        """Make a small model of the library's own kind, in float64, with nontrivial biases and norm weights."""
        raise NotImplementedError("define make(self), which must return a model that the backend accepts")

    @pytest.fixture
    def original(self) -> Any:
        """Make the library's own model."""
        return self.make()

    @pytest.fixture
    def model(self, original: Any) -> ResidualModel:
        """Wrap the model and run it once, since some libraries add hooks of their own on the first run."""
        model = eap_plugin.wrap_model(original)
        assert model.dtype == torch.float64, "make() must return a model in float64"
        model.run(_logits, _tokens(model))
        return model

    def assert_close(self, found: Tensor, expected: Tensor, what: str) -> None:
        """Check that values are equal up to rounding."""
        atol = self.tolerance * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=atol, msg=lambda said: f"{what}: {said}")

    def test_it_accepts_its_own_models_and_no_others(self, original: Any) -> None:
        """The backend accepts only its own models, and no other backend accepts them."""
        registry = backends()
        assert [name for name in registry if registry[name].accepts(original)] == [self.backend]
        assert not any(registry[self.backend].accepts(other) for other in (object(), nn.Linear(2, 2), "name", None))
        assert registry[self.backend].summary.strip()

    def test_scores_say_where_they_come_from(self, original: Any) -> None:
        """The model has a name and a provenance, and scores record them."""
        model = eap_plugin.wrap_model(original)
        assert model.name
        assert model.provenance["backend"] == self.backend
        scores = eap_plugin.prune_scores(original, [_batch(model)])
        assert scores.metadata["provenance"] == model.provenance

    def test_the_self_check_passes(self, model: ResidualModel) -> None:
        """Writers sum to what readers read, and weights and norms reproduce what the model computes."""
        report = eap_plugin.check(model, [_batch(model)])
        assert report.ok, report.failing
        assert report.worst.residue <= self.tolerance

    def test_weights_have_the_shapes_of_the_graph(self, model: ResidualModel) -> None:
        """Each layer has one projection per head of the graph."""
        graph = model.graph
        assert len(model.layers) == graph.n_layers
        for layer in model.layers:
            heads, d_model, d_head = layer.W_Q.shape
            assert heads == graph.n_heads
            assert layer.W_O.shape == (heads, d_head, d_model)
            counts = {"q": graph.n_heads, "k": graph.n_kv_heads, "v": graph.n_kv_heads}
            for slot, count in counts.items():
                W, b = layer.project(slot)  # type: ignore[arg-type]
                assert W.shape == (count, d_model, d_head)
                assert b is None or b.shape == (count, d_head)

    def test_every_site_is_visited_once_a_layer_in_order(self, model: ResidualModel) -> None:
        """Each site has the shape documented in ``model/residual_model.py``; a site that the model lacks is refused."""
        run = model.run(Run.of, _tokens(model), model.sites)
        for site in model.sites:
            layers = [layer for seen, layer in run.order if seen == site]
            last = model.graph.n_layers - 1
            once = {"embed": [0], "final": [last], "unembed": [last]}
            assert layers == once.get(site, list(range(last + 1))), site
            for layer in layers:
                found = list(run.values[site, layer].shape)
                assert found == expected_shape(model, site, N_PROMPTS, N_POS, found), (site, layer)
        assert_in_order(run.order, model.graph.parallel)
        for site in set(SITES) - model.sites:
            with pytest.raises(EapPluginError, match=f"has no {site}"):
                model.run(_logits, _tokens(model), {site: _ignore})

    def test_watching_changes_nothing(self, model: ResidualModel) -> None:
        """A visitor that returns nothing leaves every value as it is."""
        plain = model.run(_logits, _tokens(model))
        watched = model.run(_logits, _tokens(model), dict.fromkeys(model.sites, _ignore))
        self.assert_close(watched, plain, "logits")

    def test_a_replaced_value_moves_the_logits_as_its_gradient_says(self, model: ResidualModel) -> None:
        """A step along the gradient changes the output by central differences as the gradient predicts.

        This shows at every site of every layer that the model uses the replaced value, and that the gradient is that
        of this site alone. ``attn_in`` and ``mlp_in`` are left out: they are only to be watched.
        """
        tokens = _tokens(model)
        gradients = model.run(_gradients, tokens)
        assert {site for site, _ in gradients} == model.sites - WATCHED_ONLY
        for (site, layer), gradient in gradients.items():
            length = float(gradient.norm())
            assert length > 0, f"no gradient arrives at {site} of layer {layer}"
            moved = [model.run(_moved, tokens, site, layer, step * gradient / length) for step in (1e-5, -1e-5)]
            slope = (moved[0] - moved[1]) / 2e-5
            assert slope == pytest.approx(length, rel=self.tolerance), (site, layer)

    def test_edge_scores_are_the_slopes_of_patched_runs(self, model: ResidualModel) -> None:
        """The derivative of the metric with respect to corrupting one edge is minus the edge's score."""
        batch = _batch(model)
        scores = eap_plugin.prune_scores(model, [batch])
        edges = scores.top(scores.n_edges)
        for edge in edges[:: max(1, len(edges) // 24)]:
            patch = torch.zeros(scores.matrix.shape, dtype=torch.float64)
            patch[scores.graph.edge(edge.name)] = 1e-4
            slope = float(model.run(_patched, batch, patch) - model.run(_patched, batch, -patch)) / 2e-4
            assert slope == pytest.approx(-edge.score, abs=self.tolerance * abs(edges[0].score)), edge.name

    def test_edges_moved_together_are_the_corrupt_run_and_half_of_it(self, model: ResidualModel) -> None:
        """``UniformEdgeMask``, which moves all edges at once, agrees with the corrupt run and with ``EdgePatch``."""
        batch = _batch(model)
        patch = torch.ones(len(model.graph.sources), len(model.graph.readers), dtype=torch.float64)
        corrupt = metrics()["logit_diff"](model.run(_logits, batch.corrupt), batch)
        moved = model.run(_uniformly_masked, batch, 1.0)
        self.assert_close(moved, corrupt, "metric with every edge moved to the corrupt run")
        half = model.run(_patched, batch, patch / 2)
        moved = model.run(_uniformly_masked, batch, 0.5)
        self.assert_close(moved, half, "metric with every edge moved half-way")

    def test_corrupting_every_edge_is_the_corrupt_run(self, model: ResidualModel) -> None:
        """Corrupting every edge gives the corrupt run, and corrupting none the clean run."""
        batch = _batch(model)
        patch = torch.ones(len(model.graph.sources), len(model.graph.readers), dtype=torch.float64)
        for whole, tokens in ((patch, batch.corrupt), (patch * 0, batch.clean)):
            expected = metrics()["logit_diff"](model.run(_logits, tokens), batch)
            self.assert_close(model.run(_patched, batch, whole), expected, "metric")

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding_changes_nothing(self, side: str, model: ResidualModel) -> None:
        """Logits of padded prompts equal those of the prompts without padding."""
        tokens = _tokens(model)
        pad = torch.zeros(N_PROMPTS, 2, dtype=torch.long)
        parts, masks = [tokens, pad], [torch.ones_like(tokens), pad]
        if side == "left":
            parts, masks = parts[::-1], masks[::-1]
        mask = torch.cat(masks, 1).bool()
        last = torch.full((N_PROMPTS,), N_POS - 1 if side == "right" else N_POS + 1)
        padded = model.run(_logits, Prompts(torch.cat(parts, 1), mask, last))
        self.assert_close(padded, model.run(_logits, tokens), "logits")

    def test_a_prefix_changes_nothing(self, model: ResidualModel) -> None:
        """Logits are the same where prompts continue from their first tokens' keys and values, if it keeps these."""
        whole = Prompts(_tokens(model), _first_is_padding(model))
        plain = model.run(_logits, whole)
        continued = model.run(_continued, whole)
        self.assert_close(plain if continued is None else continued, plain, "logits")

    def test_logits_are_those_of_the_positions_asked_for(self, model: ResidualModel) -> None:
        """Each prompt gives the logits of one position, on which no later token has an effect."""
        tokens, last = _tokens(model), torch.tensor([1, 3, N_POS - 1])
        found = model.run(_logits, Prompts(tokens, last=last))
        assert found.shape == (N_PROMPTS, model.n_vocab)
        for row, position in enumerate(last.tolist()):
            alone = model.run(_logits, tokens[row : row + 1, : position + 1])
            self.assert_close(found[row], alone[0], f"logits at position {position}")

    def test_the_model_is_left_as_it_was(self, model: ResidualModel) -> None:
        """Everything is restored after scoring, and after a run that fails at any site."""
        with left_as_found(model):
            eap_plugin.prune_scores(model, [_batch(model)])
        for site in model.sites:
            with left_as_found(model), pytest.raises(InTheMiddleError):
                model.run(_logits, _tokens(model), {site: _fail})


class AgreementTests(BackendTests):
    """The checks of one backend, and of its agreement with another backend on a model with the same weights."""

    def reference(self) -> Any:
        """Make the same model for another backend."""
        raise NotImplementedError("define reference(self), which must return the model of make() for another backend")

    def test_it_agrees_with_another_backend(self, model: ResidualModel) -> None:
        """Logits and the scores of all edges agree."""
        other = eap_plugin.wrap_model(self.reference())
        assert other.provenance["backend"] != self.backend
        assert other.graph == model.graph
        self.assert_close(model.run(_logits, _tokens(model)), other.run(_logits, _tokens(model)), "logits")
        found, expected = (eap_plugin.prune_scores(m, [_batch(model)]) for m in (model, other))
        assert isinstance(found, PruneScores)
        self.assert_close(found.matrix, expected.matrix, "scores")


def _tokens(model: ResidualModel, seed: int = 0) -> Int[Tensor, "batch pos"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.n_vocab, (N_PROMPTS, N_POS), generator=generator)


def _batch(model: ResidualModel) -> Batch:
    """Make prompt pairs that differ at every position but the first, with one right and one wrong answer."""
    clean, corrupt = _tokens(model), _tokens(model, 1)
    corrupt[:, 0] = clean[:, 0]
    answers = _tokens(model, 2)[:, :1]
    return Batch(clean, corrupt, answers, (answers + 1) % model.n_vocab)


def _logits(
    model: ResidualModel,
    /,
    prompts: Prompts | Int[Tensor, "batch pos"],
    visit: Mapping[Site, Visitor] | None = None,
) -> Float[Tensor, "batch vocab"]:
    return model.forward(prompts, visit or {}).detach()


def _first_is_padding(model: ResidualModel) -> Bool[Tensor, "batch pos"]:
    """Make a mask by which the first prompt begins one token later than the others."""
    mask = torch.ones_like(_tokens(model), dtype=torch.bool)
    mask[0, 0] = False
    return mask


def _continued(model: ResidualModel, prompts: Prompts) -> Float[Tensor, "batch vocab"] | None:
    """Return the logits of prompts that continue from a prefix; ``None`` if the backend keeps no keys and values."""
    first, rest = prompts.split(2)
    prefix = model.prefix(first)
    return None if prefix is None else _logits(model, replace(rest, prefix=prefix))


def _loss(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, ""]:
    """Compute a loss with a different coefficient for every logit."""
    return (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view(logits.shape)).sum()


def _gradients(model: ResidualModel, tokens: Int[Tensor, "batch pos"]) -> dict[tuple[Site, int], Tensor]:
    """Compute the gradient of ``_loss`` at each site of each layer."""
    run = Run.of(model, tokens, model.sites - WATCHED_ONLY)
    return dict(zip(run.values, torch.autograd.grad(_loss(run.logits), list(run.values.values())), strict=True))


def _moved(model: ResidualModel, tokens: Int[Tensor, "batch pos"], site: Site, layer: int, step: Tensor) -> float:
    """Compute ``_loss`` with the value of a site moved by ``step``."""

    def move(index: int, value: Tensor) -> Tensor | None:
        return value + step if index == layer else None

    return float(_loss(_logits(model, tokens, {site: move})))


def _patched(model: ResidualModel, batch: Batch, patch: Float[Tensor, "sources readers"]) -> Float[Tensor, ""]:
    """Compute the metric on clean prompts with edges patched towards the corrupt ones."""
    recorder = WriterRecorder(model)
    with torch.no_grad():
        model.forward(batch.corrupt, recorder.visitors())
        logits = model.forward(batch.clean, EdgePatch(model, recorder.writers(), patch).visitors())
    value: Tensor = metrics()["logit_diff"](logits, batch)
    return value


def _uniformly_masked(model: ResidualModel, batch: Batch, mask: float) -> Float[Tensor, ""]:
    """Compute the metric on clean prompts with every edge moved by the fraction ``mask`` towards the corrupt ones."""
    recorder = WriterRecorder(model)
    with torch.no_grad():
        model.forward(batch.corrupt, recorder.visitors())
        logits = model.forward(batch.clean, UniformEdgeMask(model, recorder.writers(), mask).visitors())
    value: Tensor = metrics()["logit_diff"](logits, batch)
    return value


def _ignore(layer: int, value: Tensor) -> None:
    return None


def _fail(layer: int, value: Tensor) -> None:
    raise InTheMiddleError

"""The nnsight backend's dealings with models: which it takes, how it leaves them, what it refuses, and its plan."""

from __future__ import annotations

import json
import pickle
import pickletools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import nnsight
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from transformers import BertConfig, BertForMaskedLM, GPT2Model, MambaConfig, MambaForCausalLM

import eap_plugin
from eap_plugin.backend.nnsight import NNsightBackend
from eap_plugin.backend.nnsight.model import NNsightModel
from eap_plugin.backend.nnsight.plan import Place
from eap_plugin.cli import main
from eap_plugin.data.batch import Batch
from eap_plugin.shipped import SHIPPED
from tests.algorithm.gradient.test_eap_oracle import MODELS
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

FOLDER = str(SHIPPED["ioi-llama"])
"""A model whose name nnsight is to be told the task of: there is no hub to ask."""


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Record everything that a run could leave changed."""
    return {
        "training": {name: m.training for name, m in model.named_modules()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "grad": {name: p.grad for name, p in model.named_parameters()},
        "weights": {name: hash(p.detach().numpy().tobytes()) for name, p in model.named_parameters()},
        "hooks": {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()},
        "grad mode": torch.is_grad_enabled(),
    }


def unusual(name: str) -> Any:
    """Make a model in an unusual state, which a careless restore would lose."""
    model = build(name).train()
    next(model.children()).eval()
    next(model.parameters()).requires_grad_(False)
    return nnsight.NNsight(model)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_state_after_success(name: str) -> None:
    model = unusual(name)
    before, drawn = snapshot(model._module), torch.get_rng_state()
    eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])
    assert snapshot(model._module) == before
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["visitor", "metric"])
def test_state_after_an_exception(error: type[BaseException], where: str) -> None:
    model = unusual("llama")
    before, wrapped = snapshot(model._module), eap_plugin.wrap_model(model)

    def stop(*_: object) -> torch.Tensor:
        raise error("stop")

    runs = {
        "metric": lambda: eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))], metric=stop),
        "visitor": lambda: wrapped.run(lambda model: model.forward(prompts(2, 5)[0], {"z": stop})),
    }
    with pytest.raises(error, match="stop"):
        runs[where]()
    assert snapshot(model._module) == before
    eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])


def test_the_users_own_edits_take_part() -> None:
    tokens = Batch(*prompts(3, 6))
    plain = eap_plugin.prune_scores(nnsight.NNsight(build("gpt2")), [tokens])
    model = nnsight.NNsight(build("gpt2"))
    with model.edit(inplace=True):
        model.transformer.h[0].mlp.output = model.transformer.h[0].mlp.output * 0
    scores = eap_plugin.prune_scores(model, [tokens])
    assert bool((scores.matrix[scores.graph.mlp_row(0)] == 0).all())
    assert not scores.allclose(plain)


def test_changed_weights_are_seen() -> None:
    tokens, module = Batch(*prompts(3, 6)), build("gpt2")
    wrapped = eap_plugin.wrap_model(nnsight.NNsight(module))
    eap_plugin.prune_scores(wrapped, [tokens])
    module.transformer.h[0].attn.c_proj.weight = nn.Parameter(torch.zeros(32, 32))
    scores = eap_plugin.prune_scores(wrapped, [tokens])
    assert bool((scores.matrix[1:5] == 0).all())


@pytest.fixture(scope="module")
def expected() -> eap_plugin.PruneScores:
    model = eap_plugin.load_model("ioi-llama")
    return eap_plugin.prune_scores(model, eap_plugin.load_task("ioi", model, n_prompts=6))


@pytest.mark.filterwarnings("ignore::nnsight.NNsightDeprecationWarning")
@pytest.mark.parametrize("kind", ["TransformersModel", "LanguageModel"])
@pytest.mark.parametrize("dispatch", [True, False])
def test_models_of_nnsight_by_name(kind: str, dispatch: bool, expected: eap_plugin.PruneScores) -> None:
    model = getattr(nnsight, kind)(FOLDER, task="text-generation", dispatch=dispatch)
    wrapped = eap_plugin.wrap_model(model)
    task = eap_plugin.load_task("ioi", model, n_prompts=6)
    assert model.dispatched == dispatch  # nothing so far needed a weight
    assert task.digest == expected.metadata["task_digest"]
    scores = eap_plugin.prune_scores(wrapped, task)
    torch.testing.assert_close(scores.matrix, expected.matrix, rtol=0, atol=1e-5)
    assert scores.metadata["provenance"]["backend"] == "nnsight"


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_models_with_a_tokenizer(side: str) -> None:
    """nnsight would pad and count positions by itself."""
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]).bool()
    batch = Batch(*prompts(2, 6), attention_mask=mask if side == "left" else mask.flip(1))
    model = nnsight.TransformersModel(FOLDER, task="text-generation", dispatch=True)
    ours, bare = (eap_plugin.prune_scores(m, [batch]) for m in (model, nnsight.NNsight(model._module)))
    torch.testing.assert_close(ours.matrix, bare.matrix, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(SHIPPED))
def test_load_model(name: str) -> None:
    ours, theirs = (eap_plugin.load_model(name, backend=b) for b in ("nnsight", "transformer_lens"))
    assert (ours.name, ours.n_vocab, ours.prepend_bos) == (theirs.name, theirs.n_vocab, theirs.prepend_bos)
    tasks = [eap_plugin.load_task("ioi", model, n_prompts=6) for model in (ours, theirs)]
    assert tasks[0].digest == tasks[1].digest
    got, want = (eap_plugin.prune_scores(m, tasks[0]).matrix for m in (ours, theirs))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()))
    assert eap_plugin.load_model(name, backend="nnsight", dtype="bfloat16").dtype == torch.bfloat16


def test_a_model_that_is_not_there_is_one_line() -> None:
    with pytest.raises(eap_plugin.UsageError, match="/nowhere is not a model folder"):
        eap_plugin.load_model("/nowhere", backend="nnsight")
    with pytest.raises(eap_plugin.UsageError, match="unknown dtype 'floaty'"):
        eap_plugin.load_model("ioi-llama", backend="nnsight", dtype="floaty")


def test_the_command_line() -> None:
    def edges(backend: str) -> dict[str, float]:
        args = ["run", "ioi-llama", "--backend", backend, "--task", "ioi", "--json"]
        found = CliRunner().invoke(main, args, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return {edge["name"]: edge["score"] for edge in json.loads(found.stdout)["edges"]}

    assert edges("nnsight") == pytest.approx(edges("transformer_lens"), rel=1e-4)


def test_what_is_accepted() -> None:
    backend, module = NNsightBackend(), build("gpt2")
    assert backend.accepts(nnsight.NNsight(module))
    assert not any(backend.accepts(x) for x in (module, bridge(module), None))
    code = (
        "import sys; from eap_plugin.backend.nnsight import NNsightBackend\n"
        "assert not NNsightBackend().accepts(1) and NNsightBackend().missing() is None\n"
        "assert not {'nnsight', 'transformer_lens'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            lambda: MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2)),
            r"MambaForCausalLM .*there is no attn in backbone\.layers\.0",
        ),
        (lambda: GPT2Model(build("gpt2").config), "TransformerLens has no adapter for GPT2Model"),
        (lambda: nn.Linear(2, 2), "nnsight wraps a Linear, which has no Hugging Face configuration"),
    ],
)
def test_refused_by_name(module: Any, said: str) -> None:
    with pytest.raises(eap_plugin.EapPluginError, match=said) as refused:
        eap_plugin.wrap_model(nnsight.NNsight(module()))
    assert "\n" not in str(refused.value)


def test_a_part_that_is_not_where_the_adapter_says_is_named() -> None:
    module = build("llama")
    del module.model.layers[1].self_attn.k_proj
    with pytest.raises(eap_plugin.EapPluginError, match=r"its k was not found at model\.layers\.1\.self_attn\.k_proj"):
        eap_plugin.wrap_model(nnsight.NNsight(module))


def test_a_fused_projection_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(eap_plugin.EapPluginError, match="fused projection query_key_value cannot be split"):
        eap_plugin.wrap_model(nnsight.NNsight(build("falcon_new")))


@pytest.mark.filterwarnings("ignore:Module .* has a submodule named 'output'")
def test_another_order_than_a_decoders_is_refused() -> None:
    """BERT's norms come after attention and MLP; one of its parts is named as nnsight names what a module returns."""
    config = BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(eap_plugin.EapPluginError, match="BertForMaskedLM does not compute its parts in the order"):
        eap_plugin.check(nnsight.NNsight(BertForMaskedLM(config)))


def with_wrong_heads() -> NNsightModel:
    """Make a model with another head's v in its second layer, though all adds up where it is read and written."""
    model = eap_plugin.wrap_model(nnsight.NNsight(build("gpt2")))
    assert isinstance(model, NNsightModel)
    plan = model.plan
    first, last = plan.layers[1].v.heads[0], plan.layers[1].v.heads[-1]
    other_way_round = {first: last, last: first}

    def wrong(heads: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(other_way_round.get(head, head) for head in heads)

    def wrong_place(place: Place) -> Place:
        visits = [replace(v, heads=wrong(v.heads)) if v.site == "v" else v for v in place.visits]
        return replace(place, visits=tuple(visits)) if place.layer == 1 else place

    v = replace(plan.layers[1].v, heads=wrong(plan.layers[1].v.heads))
    model.plan = replace(
        plan,
        layers=(plan.layers[0], replace(plan.layers[1], v=v)),
        places=tuple(wrong_place(place) for place in plan.places),
    )
    return model


def test_a_fused_projection_that_is_split_into_the_wrong_heads_is_refused() -> None:
    with pytest.raises(eap_plugin.EapPluginError, match="layer 1, heads of v"):
        eap_plugin.prune_scores(with_wrong_heads(), [Batch(*prompts(2, 5))])


def test_an_old_transformer_lens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eap_plugin.backend.nnsight.version", lambda package: "3.9.0")
    assert NNsightBackend().missing() == "transformer-lens is 3.9.0, at least 4 is needed"
    with pytest.raises(eap_plugin.EapPluginError, match=r"cannot be used here: transformer-lens is 3\.9\.0"):
        eap_plugin.wrap_model(nnsight.NNsight(build("gpt2")))


@pytest.mark.parametrize("name", MODELS)
def test_the_plan_needs_no_weights_and_is_plain_data(name: str) -> None:
    module = build(name)
    plan = eap_plugin.wrap_model(nnsight.NNsight(module)).plan
    assert eap_plugin.wrap_model(nnsight.NNsight(module.to("meta"))).plan == plan
    sent = pickle.dumps(plan)
    assert pickle.loads(sent) == plan
    assert len(sent) < 6000
    words = {argument for _, argument, _ in pickletools.genops(sent) if isinstance(argument, str)}
    assert not {word for word in words if word.startswith(("torch", "transformer", "nnsight"))} - {
        path for path in words if path.startswith("transformer.")
    }


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("gpt2", [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]),
        ("gpt_neox", [(0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11)]),
        ("falcon", [(0, 1, 2, 3), (4,), (5,)]),
        ("llama", [(0, 1, 2, 3), (0, 1), (0, 1)]),
    ],
)
def test_where_the_heads_are(name: str, heads: list[tuple[int, ...]]) -> None:
    layer = eap_plugin.wrap_model(nnsight.NNsight(build(name))).plan.layers[1]
    assert [layer.q.heads, layer.k.heads, layer.v.heads] == heads


def test_weights_are_views() -> None:
    for name in ("gpt2", "gpt_neox", "falcon", "llama"):
        module = build(name)
        storages = {p.untyped_storage().data_ptr() for p in module.parameters()}
        layer = eap_plugin.wrap_model(nnsight.NNsight(module)).layers[0]
        for weight in (layer.W_Q, layer.W_K, layer.W_V, layer.W_O):
            assert weight.untyped_storage().data_ptr() in storages


def test_what_travels_imports_neither_nnsight_nor_transformer_lens() -> None:
    code = (
        "import sys, eap_plugin.backend.nnsight.model\nassert not {'nnsight', 'transformer_lens'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

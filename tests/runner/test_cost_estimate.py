"""The estimate of a run's cost: operations as counted, memory, and what ``--dry-run`` says."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

import eap_plugin
from eap_plugin import Batch
from eap_plugin.algorithm.base import Cost
from eap_plugin.cli import main
from eap_plugin.cli.estimate import memory
from eap_plugin.runner.cost_model import decoder_shape, operations, shape_of
from tests.support.bridges import bridge
from tests.support.zoo import prompts

SIZES = {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "d_model": 32, "d_head": 8, "d_mlp": 48, "n_vocab": 113}


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    config = LlamaConfig(
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        hidden_size=32,
        intermediate_size=48,
        vocab_size=113,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def test_operations_of_the_passes_are_those_that_pytorch_counts(llama: LlamaForCausalLM) -> None:
    inputs = torch.randn(5, 7, 32, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        out = llama.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    counted = operations(decoder_shape(**SIZES), n_prompts=5, n_pos=7)
    assert forward.get_total_flops() == pytest.approx(counted.forward, rel=0.01)  # the rotary angles come on top
    attention = 4 * 5 * 7 * 7 * 3 * 4 * 8  # its products are differentiated by both factors
    assert backward.get_total_flops() == pytest.approx(counted.backward + attention, rel=0.01)


def test_shapes_of_models(llama: LlamaForCausalLM) -> None:
    shape, expected = shape_of(eap_plugin.wrap_model(bridge(llama))), decoder_shape(**SIZES)
    assert (shape.graph, shape.d_model, shape.d_head) == (expected.graph, 32, 8)
    norms = (2 * SIZES["n_layers"] + 1) * 32
    assert shape.block_weights == expected.block_weights + norms
    assert shape.n_weights == expected.n_weights + norms


def test_scoring_counts_a_product_for_each_edge() -> None:
    shape = decoder_shape(**SIZES)
    counted = operations(shape, n_prompts=1, n_pos=1)
    heads = 3 * (4 + 2 + 2 + 4) * 8  # q, k, v readers and writers, of d_head
    assert counted.scoring == 2 * 32 * (shape.graph.n_edges + heads)
    assert counted.total(Cost(2, 1)) == 2 * counted.forward + counted.backward + counted.scoring


def test_estimates(llama: LlamaForCausalLM) -> None:
    model, data = bridge(llama), [Batch(*prompts(6, 5)), Batch(*prompts(3, 5, seed=1))]
    found = eap_plugin.estimate_cost(model, data, batch_size=3)
    assert found.n_pieces == 3
    step = found.forward_seconds * 2 + found.backward_seconds + found.scoring_seconds
    assert found.seconds == pytest.approx(3 * step)
    whole = eap_plugin.estimate_cost(model, data)
    assert whole.n_pieces == 2
    assert whole.memory_bytes == pytest.approx(2 * found.memory_bytes, rel=0.01)
    assert whole.weight_bytes == 4 * shape_of(eap_plugin.wrap_model(model)).n_weights


def test_a_dry_run_says_time_and_memory() -> None:
    run = ["run", "ioi-llama", "--task", "ioi", "-n", "8", "--dry-run"]
    said = " ".join(CliRunner().invoke(main, run).stdout.split())
    assert "2 forward and 1 backward passes on 1 batch (8 prompt pairs)" in said
    assert "and scoring after it" in said and "for activations beside" in said
    document = json.loads(CliRunner().invoke(main, [*run, "--json", "--max-memory", "1MB"]).stdout)
    assert document["n_pieces"] > 1 and document["memory_bytes"] > 0


@pytest.mark.parametrize(("size", "text"), [(1.2e7, "12 MB"), (3.45e9, "3.5 GB"), (9.96e7, "0.1 GB")])
def test_sizes_for_people(size: float, text: str) -> None:
    assert memory(size) == text

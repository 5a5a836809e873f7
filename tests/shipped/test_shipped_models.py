"""The models that come with the package: that they do their task, and that they stay small and loadable."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eap_plugin.shipped import SHIPPED
from eap_plugin.task.ioi import IOI, NAMES

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_shipped_models.py"


@pytest.fixture(scope="module")
def script():
    """Import the training script, which knows the held-out pairs of names."""
    spec = importlib.util.spec_from_file_location("train_shipped_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["ioi-gpt2", "ioi-llama"])
def folder(request) -> Path:
    return SHIPPED[request.param]


def test_exactly_these_models_are_shipped():
    assert set(SHIPPED) == {"ioi-gpt2", "ioi-llama"}


def test_held_out_pairs_are_right_and_the_corruption_leaves_no_preference(folder, script):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    task = IOI().generate(tokenizer, n_prompts=2500, seed=20_000, prepend_bos=True)
    batch = script.unseen(task, tokenizer).batch()
    assert len(batch) > 400
    rows = torch.arange(len(batch))
    right, wrong = batch.answers[:, 0], batch.wrong_answers[:, 0]
    with torch.no_grad():
        clean, corrupt = (
            model(ids, attention_mask=batch.attention_mask.long()).logits[rows, batch.last]
            for ids in (batch.clean, batch.corrupt)
        )
    assert (clean.argmax(dim=-1) == right).float().mean() >= 0.99
    assert (clean[rows, right] - clean[rows, wrong]).mean() > 4
    assert abs((corrupt[rows, right] - corrupt[rows, wrong]).mean()) < 0.5


def test_held_out_pairs_do_not_depend_on_their_order(script):
    pairs = [(a, b) for a in NAMES for b in NAMES if a != b]
    assert all(script.held_out(a, b) == script.held_out(b, a) for a, b in pairs)
    assert 0.1 < sum(script.held_out(a, b) for a, b in pairs) / len(pairs) < 0.3


def test_training_sentences_have_no_held_out_pair(script):
    rng = script.random.Random(7)
    kinds = set()
    for _ in range(500):
        names = {word for word in script.re.findall(r"\w+", script.sentence(rng)) if word in NAMES}
        assert not any(script.held_out(a, b) for a, b in script.combinations(names, 2))
        kinds.add(len(names))
    assert kinds == {2, 3}


def test_the_shipped_vocabulary_is_that_of_the_task(folder, script):
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(script.build_tokenizer().to_str())


def test_words_round_trip_and_bos_comes_first(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "When Mary and John met at the park, John handed a book to Mary."
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids[1:]) == text
    assert len(tokenizer.encode(" Mary", add_special_tokens=False)) == 1


def test_folders_are_small_and_described(folder):
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert set(files) == {
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    assert sum(files.values()) < 1_000_000


def test_norms_and_biases_have_been_trained(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().mean() > 1e-3, name
        elif "norm" in name or "ln_" in name:
            assert (parameter - 1).abs().mean() > 1e-2, name


def test_the_llama_groups_its_keys_and_values():
    config = json.loads((SHIPPED["ioi-llama"] / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (4, 2)
    assert config["architectures"] == ["LlamaForCausalLM"]

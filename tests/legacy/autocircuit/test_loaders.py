"""Loaders that AutoCircuit makes from a file of text: padded, and with what all prompts share cached."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from auto_circuit.data import PromptDataLoader, load_datasets_from_json
from auto_circuit.prune_algos.edge_attribution_patching import edge_attribution_patching_prune_scores
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformers import PreTrainedTokenizerFast

import eap_plugin
from tests.support.patchable import difference, make_patchable

Record = Callable[[str, str], None]
NAMES = ("Mary", "John", "Paul", "Anna")
STARTS = ("When", "Then", "While")
OTHERS = ("and", "met", "at", "the", "park", "gave", "a", "book", "to", "yesterday")
WORDS = ("<bos>", "<pad>", ",", *STARTS, *(f" {word}" for word in (*NAMES, *OTHERS)))
GROUPED = {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "rotary_dim": 8, "normalization_type": "RMS"}


def _model(**cfg: Any) -> HookedTransformer:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"<bos>| ?\w+|[^\w\s]"), "isolated")
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=2, d_model=32, n_heads=4, d_head=8, d_mlp=64, n_ctx=32, d_vocab=len(WORDS), act_fn="gelu",
            dtype=torch.float64, device="cpu", **cfg,
        )
    )  # fmt: skip
    model.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<bos>", pad_token="<pad>"
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def _file(folder: Path, start: str = "", padded: bool = False) -> Path:
    """Write twenty-four prompts that begin with ``start``, or each with a different word."""
    draw = random.Random(0)
    prompts = []
    for i in range(24):
        a, b, c = draw.sample(NAMES, 3)
        when = " yesterday" if padded and i % 3 else ""
        clean = f"{start or draw.choice(STARTS)} {a} and {b} met at the park{when}, {b} gave a book to"
        if start:
            clean = f"{start} Anna and Mary met at the park{when}, {b} gave a book to"
        corrupt = clean.replace(f", {b} gave", f", {c} gave")
        prompts.append({"clean": clean, "corrupt": corrupt, "answers": [f" {a}"], "wrong_answers": [f" {b}"]})
    path = folder / "prompts.json"
    path.write_text(json.dumps({"prompts": prompts}))
    return path


def _loaders(
    model: HookedTransformer, path: Path, batch_size: Any = 8, **how: Any
) -> tuple[PromptDataLoader, PromptDataLoader]:
    flag, model.cfg.ungroup_grouped_query_attention = model.cfg.ungroup_grouped_query_attention, False
    train, test = load_datasets_from_json(
        model, path, torch.device("cpu"), batch_size=batch_size, train_test_size=(16, 8), **how
    )
    model.cfg.ungroup_grouped_query_attention = flag
    return train, test


@pytest.mark.parametrize("start", ["When", ""], ids=["prefix shared", "prefixes differ"])
def test_tails(start: str, tmp_path: Path, record_property: Record) -> None:
    """AutoCircuit takes the first batch's prefixes for every batch, also where they differ; so do we."""
    model, loaders = _with_tails(start, tmp_path)
    caches = tuple(loader.kv_cache for loader in loaders)
    kept = [entry.past_keys.clone() for cache in caches for entry in cache.entries]
    patchable = make_patchable(model, kv_caches=caches)
    error = 0.0
    for data in loaders:
        found = eap_plugin.prune_scores(patchable, data)
        error = max(error, difference(found, edge_attribution_patching_prune_scores(patchable, data, None)))
    record_property("AutoCircuit edge_attribution_patching", f"{error:.1e}")
    assert error <= 1e-13
    after = [entry.past_keys for cache in caches for entry in cache.entries]
    assert all(torch.equal(a, b) for a, b in zip(kept, after, strict=True))


@pytest.mark.parametrize("start", ["When", ""], ids=["prefix shared", "prefixes differ"])
def test_tails_by_position(start: str, tmp_path: Path, record_property: Record) -> None:
    model, loaders = _with_tails(start, tmp_path)
    caches = tuple(loader.kv_cache for loader in loaders)
    patchable = make_patchable(model, kv_caches=caches, seq_len=loaders[0].seq_len)
    error = 0.0
    for data in loaders:
        found = eap_plugin.prune_scores(patchable, data)
        want = mask_gradient_prune_scores(patchable, data, None, "logit", "avg_diff", mask_val=0.0)
        error = max(error, difference(found, want))
    record_property("AutoCircuit mask_gradient, positions", f"{error:.1e}")
    assert error <= 1e-13


def _with_tails(start: str, folder: Path) -> tuple[HookedTransformer, tuple[PromptDataLoader, PromptDataLoader]]:
    """Make a model, and loaders of its prompts from the second name on, in batches of eight and of four."""
    model = _model()
    path = _file(folder, start)
    loaders = _loaders(model, path, batch_size=(8, 4), tail_divergence=True, return_seq_length=True)
    assert [loader.diverge_idx for loader in loaders] == [10, 10]
    assert [loader.seq_len for loader in loaders] == [5, 5]
    return model, loaders


@pytest.mark.parametrize("cfg", [{}, GROUPED], ids=["plain", "grouped"])
def test_tails_score_as_whole_prompts_do(cfg: dict[str, Any], tmp_path: Path) -> None:
    """With grouped-query attention, too, where AutoCircuit itself cannot use the cache that it makes."""
    path = _file(tmp_path, "When")
    model = _model(**cfg)
    tails, _ = _loaders(model, path, tail_divergence=True)
    whole, _ = _loaders(model, path, tail_divergence=False)
    on_whole = eap_plugin.prune_scores(make_patchable(_model(**cfg)), whole)
    patchable = make_patchable(model, kv_caches=(tails.kv_cache,))
    assert difference(eap_plugin.prune_scores(patchable, tails), on_whole) <= 1e-13
    assert difference(eap_plugin.prune_scores(patchable, tails, batch_size=3), on_whole) <= 1e-13
    assert eap_plugin.check(patchable, tails).ok
    assert eap_plugin.check(patchable).ok


def test_left_padded_prompts(tmp_path: Path) -> None:
    model = _model()
    data, _ = _loaders(model, _file(tmp_path, padded=True))
    assert bool((next(iter(data)).clean[:, 0] == WORDS.index("<pad>")).any())
    patchable = make_patchable(model)
    found = eap_plugin.prune_scores(patchable, data)
    assert difference(found, edge_attribution_patching_prune_scores(patchable, data, None)) <= 1e-13
    cut = eap_plugin.prune_scores(patchable, data, batch_size=3)
    torch.testing.assert_close(cut.matrix, found.matrix)


def test_refusals(tmp_path: Path) -> None:
    model = _model()
    tails, _ = _loaders(model, _file(tmp_path), tail_divergence=True)

    def fails(model: Any, data: Any, says: str, **arguments: Any) -> None:
        with pytest.raises(eap_plugin.UsageError, match=says) as raised:
            eap_plugin.prune_scores(model, data, **arguments)
        assert "\n" not in str(raised.value)

    patchable = make_patchable(model, kv_caches=(tails.kv_cache,))
    fails(patchable, tails, "leave batch_size out, or load the prompts with tail_divergence=False", batch_size=4)
    three = next(iter(tails))
    three = eap_plugin.Batch(three.clean[:3], three.corrupt[:3], three.answers[:3], three.wrong_answers[:3])
    fails(patchable, [three], "the cached prefixes are for 8 prompts at a time and differ, so 3 cannot be run")
    without = make_patchable(_model())
    fails(without, tails, r"make the PatchableModel with kv_caches=\(loader.kv_cache,\)")
    fails(without.wrapped_model, tails, "but the model has no cached keys and values for what comes before")

"""The prompt pairs that a file records as examples."""

from __future__ import annotations

import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.runner.provenance import EXAMPLE_TOKENS, EXAMPLES, examples


def test_scores_and_evaluations_record_the_first_prompts() -> None:
    model = eap_plugin.load_model("ioi-gpt2")
    task = eap_plugin.load_task("ioi", model, n_prompts=5)
    scores = eap_plugin.prune_scores(model, task)
    batch, tokenizer = task.batch(), model.tokenizer
    recorded = scores.metadata["examples"]
    assert len(recorded) == EXAMPLES
    for row, one in enumerate(recorded):
        real = batch.real[row]
        for name, ids in (("clean", batch.clean[row][real]), ("corrupt", batch.corrupt[row][real])):
            assert len(one[name]) == int(real.sum())
            assert "".join(one[name]) == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert one["answers"] == [tokenizer.decode(batch.answers[row])]
        assert one["wrong_answers"] == [tokenizer.decode(batch.wrong_answers[row])]
    found = eap_plugin.evaluate(model, task, eap_plugin.select(scores, edges=20), resamples=10)
    assert found.metadata["examples"] == recorded


def test_without_a_tokenizer_and_of_long_prompts() -> None:
    tokens = torch.arange(100).repeat(2, 1)
    mask = torch.ones(2, 100, dtype=torch.bool)
    mask[1, 10:] = False
    batch = Batch(tokens, tokens + 1, torch.tensor([[5, -1], [6, 7]]), torch.tensor([[-1], [8]]), mask)
    first, second = examples([batch], None)
    assert first["clean"] == [str(i) for i in range(100 - EXAMPLE_TOKENS, 100)]
    assert second["corrupt"] == [str(i + 1) for i in range(10)]
    assert (first["answers"], first["wrong_answers"]) == (["5"], [])
    assert (second["answers"], second["wrong_answers"]) == (["6", "7"], ["8"])

"""Turning prompt pairs into token ids: what is kept, what is dropped and why."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from eap_plugin.errors import UsageError
from eap_plugin.shipped import SHIPPED
from eap_plugin.task.task import PromptPair, encode_task

CLEAN = "When Mary and John met at the park, John handed a book to"
CORRUPT = "When Mary and John met at the park, Tom handed a book to"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(SHIPPED["ioi-gpt2"])


def pair(clean=CLEAN, corrupt=CORRUPT, answers=(" Mary",), wrong=(" John",)):
    return PromptPair(clean, corrupt, answers, wrong)


def test_answers_that_are_no_known_token_are_left_out(tokenizer):
    task = encode_task("t", [pair(answers=(" Mary", " Zoe", " Mary and", ""))], tokenizer)
    assert [tokenizer.decode(ids) for ids in task.answers] == [" Mary"]
    assert task.dropped == ()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (pair(answers=(" Zoe",)), "' Zoe' is not a single known token"),
        (pair(wrong=(" Zoe",)), "' Zoe' is not a single known token"),
        (pair(answers=()), "no right answer"),
        (pair(answers=(" John",)), "both right and wrong"),
        (pair(corrupt=CLEAN), "the same tokens"),
        (pair(corrupt=CORRUPT + " Tom"), "clean has 14 tokens and corrupt 15"),
        (pair(clean="", corrupt=""), "prompt is empty"),
    ],
)
def test_unusable_pairs_are_dropped_with_the_reason(tokenizer, bad, reason):
    task = encode_task("t", [bad, pair()], tokenizer)
    assert len(task) == 1
    assert reason in task.dropped[0].reason
    with pytest.raises(UsageError, match="'t' has no usable prompt pair"):
        encode_task("t", [bad], tokenizer)


def test_ids_need_no_tokenizer():
    task = encode_task("t", [PromptPair((1, 2), (1, 3), (4,), (5, 6))], None)
    assert (task.clean, task.corrupt, task.answers, task.wrong_answers) == (
        ((1, 2),),
        ((1, 3),),
        ((4,),),
        ((5, 6),),
    )


def test_text_needs_a_tokenizer():
    with pytest.raises(UsageError, match="no tokenizer"):
        encode_task("t", [pair()], None)


def test_bos_is_put_before_text_only_if_there_is_one(tokenizer):
    assert encode_task("t", [pair()], tokenizer, prepend_bos=True).clean[0][0] == tokenizer.bos_token_id
    bare = AutoTokenizer.from_pretrained(SHIPPED["ioi-gpt2"])
    bare.bos_token = None
    with pytest.raises(UsageError, match="prepend_bos=False"):
        encode_task("t", [pair()], bare, prepend_bos=True)


def test_batch_has_the_shortest_prompts_first(tokenizer):
    longer = pair(
        "Yesterday Mary and John walked to the park, and John gave a book to",
        "Yesterday Mary and John walked to the park, and Tom gave a book to",
    )
    batch = encode_task("t", [longer, pair()], tokenizer).batch()
    assert tokenizer.decode(batch.clean[0][batch.attention_mask[0]]) == CLEAN
    assert batch.last.tolist() == [13, 14]

"""The tasks that write their own prompts, over tokenizers that split text in different ways."""

from __future__ import annotations

import re

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from eap_plugin.errors import UsageError
from eap_plugin.shipped import SHIPPED
from eap_plugin.task import agreement, greater_than, ioi
from eap_plugin.task.agreement import SubjectVerbAgreement
from eap_plugin.task.greater_than import GreaterThan, later_years
from eap_plugin.task.ioi import IOI

WORDS = r" ?[^\W\d]+"
TWO_DIGITS = rf"{WORDS}| ?\d\d|\d"
ONE_DIGIT = rf"{WORDS}| (?=\d)|\d"
THREE_DIGITS = rf"{WORDS}| (?=\d)|\d{{1,3}}"


def tokenizer_of(pattern: str, *, without: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token per match of the pattern in the two tasks' texts, except the words left out."""
    text = ["The lasted from the year to behind beside near with without"]
    text += [f"x {word} {word}s" for word in (*greater_than.NOUNS, *agreement.SUBJECTS, *agreement.DISTRACTORS)]
    text += [*agreement.SINGULAR, *agreement.PLURAL]
    text += [f" {century}{y:02d}" for century in greater_than.CENTURIES for y in range(100)]
    found = {match for line in text for match in re.findall(pattern, line)} - set(without)
    vocab = {token: i for i, token in enumerate(["<s>", "<unk>", *sorted(found)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(SHIPPED["ioi-gpt2"])


def test_ioi_repeats_one_name_and_asks_for_the_other(words):
    task = IOI().generate(words, n_prompts=200, seed=0, prepend_bos=True)
    orders = set()
    for clean, corrupt, right, wrong in zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True):
        assert clean[0] == words.bos_token_id
        receiver, giver = right[0], wrong[0]
        assert clean.count(giver) == 2
        assert clean.count(receiver) == 1
        changed = [i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b]
        assert changed == [max(i for i, token in enumerate(clean) if token == giver)]
        assert corrupt[changed[0]] not in clean
        orders.add(clean.index(receiver) < clean.index(giver))
    assert orders == {True, False}
    assert len(set(task.clean)) == len(task) == 200


def test_ioi_uses_every_template(words):
    task = IOI().generate(words, n_prompts=200, seed=0, prepend_bos=False)
    openings = {words.decode([ids[0]]) for ids in task.clean}
    assert openings == {template.split()[0] for template in ioi.TEMPLATES}


def test_seed_alone_decides_the_prompts(words):
    first, again, other = (
        IOI().generate(words, n_prompts=30, seed=seed, prepend_bos=True).digest for seed in (3, 3, 4)
    )
    assert first == again != other


def test_prompts_of_a_seed_stay_the_same(words):
    task = IOI().generate(words, n_prompts=1, seed=0, prepend_bos=False)
    assert words.decode(task.clean[0]) == ("Yesterday Lucy and Laura walked to the station, and Lucy gave a letter to")


def test_more_prompts_begin_with_the_fewer(words):
    few, many = (IOI().generate(words, n_prompts=n, seed=1, prepend_bos=True) for n in (5, 9))
    assert many.clean[:5] == few.clean


def test_ioi_says_when_no_names_are_single_tokens():
    with pytest.raises(UsageError, match=r"three names that are single tokens, .* has 0 of 24"):
        IOI().generate(tokenizer_of(TWO_DIGITS), n_prompts=4, seed=0, prepend_bos=False)


def test_greater_than_with_two_digits_per_token():
    tokenizer = tokenizer_of(TWO_DIGITS)
    task = GreaterThan().generate(tokenizer, n_prompts=40, seed=0, prepend_bos=False)
    assert len(task) == 40
    for clean, corrupt, right, wrong in zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True):
        start = int(tokenizer.decode(clean).partition(" to the year")[0][-2:])
        assert tokenizer.decode(corrupt).partition(" to the year")[0].endswith("01")
        assert {int(tokenizer.decode([i])) for i in right} == set(range(start + 1, 100))
        assert {int(tokenizer.decode([i])) for i in wrong} == set(range(start + 1))


def test_greater_than_with_one_digit_per_token():
    tokenizer = tokenizer_of(ONE_DIGIT)
    task = GreaterThan().generate(tokenizer, n_prompts=40, seed=0, prepend_bos=False)
    for clean, right, wrong in zip(task.clean, task.answers, task.wrong_answers, strict=True):
        tens = int(tokenizer.decode(clean).partition(" to the year")[0][-2])
        assert [int(tokenizer.decode([i])) for i in right] == list(range(tens + 1, 10))
        assert [int(tokenizer.decode([i])) for i in wrong] == list(range(tens))


def test_greater_than_says_when_years_are_split_otherwise():
    with pytest.raises(UsageError, match=r"reads ' 1732' as \[' ', '173', '2'\]"):
        GreaterThan().generate(tokenizer_of(THREE_DIGITS), n_prompts=4, seed=0, prepend_bos=False)


def test_greater_than_drops_years_that_are_one_token():
    tokenizer = tokenizer_of(rf"{WORDS}| 17[4-9]\d| ?\d\d|\d")
    task = GreaterThan().generate(tokenizer, n_prompts=300, seed=0, prepend_bos=False)
    assert len(task) == 300
    assert not any(re.search(r" 17[4-9]\d", tokenizer.decode(ids)) for ids in task.clean)
    assert re.fullmatch(r"the tokenizer does not split the year 17[4-9]\d after its century", task.dropped[0].reason)


def test_greater_than_leaves_out_answers_that_are_not_tokens():
    tokenizer = tokenizer_of(TWO_DIGITS, without=("00", "99"))
    task = GreaterThan().generate(tokenizer, n_prompts=10, seed=0, prepend_bos=False)
    assert {len(right) + len(wrong) for right, wrong in zip(task.answers, task.wrong_answers, strict=True)} == {98}


def test_later_years_splits_the_century():
    later, others = later_years(97)
    assert later == ("98", "99")
    assert others[0] == "00"
    assert others[-1] == "97"


def test_agreement_swaps_the_subjects_number_only():
    tokenizer = tokenizer_of(TWO_DIGITS)
    task = SubjectVerbAgreement().generate(tokenizer, n_prompts=60, seed=0, prepend_bos=False)
    numbers = set()
    for clean, corrupt, right, wrong in zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True):
        subject, other = (tokenizer.decode(ids).split()[1] for ids in (clean, corrupt))
        plural = subject == f"{other}s"
        assert plural or other == f"{subject}s"
        assert [i for i in range(len(clean)) if clean[i] != corrupt[i]] == [1]
        forms = [agreement.SINGULAR, agreement.PLURAL]
        assert [tuple(tokenizer.decode([i]) for i in ids) for ids in (wrong, right)] == forms[:: 1 if plural else -1]
        numbers.add((plural, tokenizer.decode(clean).endswith("s")))
    assert len(numbers) == 4


def test_agreement_uses_only_nouns_with_two_single_token_forms():
    tokenizer = tokenizer_of(TWO_DIGITS, without=tuple(f" {s}s" for s in agreement.SUBJECTS[2:]))
    task = SubjectVerbAgreement().generate(tokenizer, n_prompts=20, seed=0, prepend_bos=False)
    assert {tokenizer.decode(ids).split()[1].removesuffix("s") for ids in task.clean} == set(agreement.SUBJECTS[:2])
    with pytest.raises(UsageError, match="has none of 20"):
        SubjectVerbAgreement().generate(tokenizer_of(r"\w"), n_prompts=1, seed=0, prepend_bos=False)


@pytest.mark.parametrize("generator", [IOI(), GreaterThan(), SubjectVerbAgreement()])
def test_nonpositive_number_of_prompts_is_an_error(generator, words):
    tokenizer = words if generator.name == "ioi" else tokenizer_of(TWO_DIGITS)
    with pytest.raises(UsageError, match="at least 1, got 0"):
        generator.generate(tokenizer, n_prompts=0, seed=0, prepend_bos=False)


def test_task_smaller_than_asked_for_ends(words):
    tokenizer = tokenizer_of(TWO_DIGITS, without=tuple(f" {s}s" for s in agreement.SUBJECTS[1:]))
    task = SubjectVerbAgreement().generate(tokenizer, n_prompts=1000, seed=0, prepend_bos=False)
    assert len(task) == 2 * len(agreement.PREPOSITIONS) * 2 * len(agreement.DISTRACTORS)

"""Held-out prompts of a task: others than those it has, loaded from where it was loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eap_plugin
from eap_plugin.api.prompts import held_out_task
from eap_plugin.errors import UsageError
from eap_plugin.task.task import PromptPair, Task, encode_task

ROWS = [{"clean": [1, 2, row], "corrupt": [1, 3, row], "answers": [4], "wrong_answers": [5]} for row in (6, 7, 8, 6, 9)]


@pytest.fixture(scope="module")
def model():
    return eap_plugin.load_model("ioi-gpt2")


def pairs(task: Task) -> list[tuple]:
    return list(zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True))


@pytest.mark.parametrize(("seed", "bos"), [(0, None), (3, False)])
def test_of_a_generated_task_they_are_the_next_prompts(model, seed, bos) -> None:
    task = eap_plugin.load_task("ioi", model, n_prompts=20, seed=seed, prepend_bos=bos)
    both = eap_plugin.load_task("ioi", model, n_prompts=40, seed=seed, prepend_bos=bos)
    others = held_out_task(task, model)
    assert not set(others.clean) & set(task.clean)
    assert pairs(both) == pairs(task) + pairs(others)


def test_of_a_file_they_are_the_rows_that_were_not_used(model, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    task = eap_plugin.load_task(path, model, n_prompts=2)
    assert [ids[-1] for ids in held_out_task(task, model).clean] == [8]  # the other repeats a prompt that was used
    whole = eap_plugin.load_task(path, model)
    with pytest.raises(UsageError, match="task 'mine' has no prompts besides the 5 that are used already"):
        held_out_task(whole, model)


def test_a_task_that_was_not_loaded_has_none(model) -> None:
    task = encode_task("mine", [PromptPair((1, 2), (1, 3), (4,), (5,))], None)
    with pytest.raises(UsageError, match="was not loaded by name, so other prompts of it cannot be"):
        held_out_task(task, model)

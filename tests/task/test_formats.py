"""Task files: what each format reads, and that every malformed file is a one-line usage error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.formats.autocircuit import AutoCircuitJson
from eap_plugin.task.formats.eap_ig import EapIgCsv
from eap_plugin.task.formats.jsonl import PromptJsonl
from eap_plugin.task.load import read_task_file
from eap_plugin.task.task import PromptPair

FORMATS = (AutoCircuitJson(), EapIgCsv(), PromptJsonl())
RECORD = {"clean": "a b", "corrupt": "a c", "answers": [" d"], "wrong_answers": [" e", 7]}
PAIR = PromptPair("a b", "a c", (" d",), (" e", 7))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_autocircuit_json_ignores_other_keys(tmp_path):
    ids = {"clean": [1, 2], "corrupt": [1, 3], "answers": [4], "wrong_answers": [5]}
    content = {"seq_labels": ["a"], "word_idxs": {"end": 1}, "prompts": [{**RECORD, "note": 1}, ids]}
    path = write(tmp_path / "t.json", json.dumps(content))
    assert read_task_file(path, FORMATS) == [PAIR, PromptPair((1, 2), (1, 3), (4,), (5,))]


def test_jsonl_skips_empty_lines_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path / "t.jsonl", "\ufeff" + json.dumps(RECORD) + "\r\n\n" + json.dumps(RECORD))
    assert read_task_file(str(path), FORMATS) == [PAIR, PAIR]


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
answers = st.lists(text | st.integers(0, 10**6), max_size=3)
prompts = text | st.lists(st.integers(0, 10**6), min_size=1, max_size=5)


@given(st.fixed_dictionaries({"clean": prompts, "corrupt": prompts, "answers": answers, "wrong_answers": answers}))
def test_jsonl_reads_back_whatever_json_writes(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    write(path, json.dumps(record, ensure_ascii=False) + "\n")
    (pair,) = PromptJsonl().read(path)
    back = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(pair).items()}
    assert back == record


@pytest.mark.parametrize(
    ("header", "row", "answers", "wrong"),
    [
        (",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx", '0,"a, b",c,d,11,12', (11,), (12,)),
        ("clean,corrupted,correct_idx,incorrect_idx", '"a, b",c,"[1, 2]","[3]"', (1, 2), (3,)),
        ("clean,corrupted,clean_answer_idx,corrupted_answer_idx,label", '"a, b",c,673,339,0', (673,), (339,)),
        ("clean,corrupted,answers_idx,corrupted_answers_idx", '"a, b",c,"[1, 2]",[3]', (1, 2), (3,)),
        ("clean,corrupted,correct,incorrect", '"a, b",c," x","[\' y\', \' z\']"', (" x",), (" y", " z")),
        ("clean,corrupted,correct,incorrect", '"a, b",c,7,8', ("7",), ("8",)),
    ],
)
def test_eap_ig_csv_takes_ids_or_texts(tmp_path, header, row, answers, wrong):
    path = write(tmp_path / "t.csv", f"{header}\n{row}\n")
    assert read_task_file(path, FORMATS) == [PromptPair("a, b", "c", answers, wrong)]


@pytest.mark.parametrize("column", ["correct_idx", "label"])
def test_eap_ig_greater_than_csv_has_the_start_year_not_an_id(tmp_path, column):
    rows = [f"The war lasted from the year 16{y:02d} to the year 16,x 1601 to the year 16,{y}" for y in (4, 98)]
    path = write(tmp_path / "t.csv", f"clean,corrupted,{column}\n" + "\n".join(rows))
    first, second = read_task_file(path, FORMATS)
    assert first.wrong_answers == ("00", "01", "02", "03", "04")
    assert first.answers[0] == "05"
    assert second.answers == ("99",)


IDS = "clean,corrupted,correct_idx,incorrect_idx"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", '{"prompts": [\n{"clean": }', "line 2: not JSON"),
        ("t.json", '{"prompts": 3}', "no list of prompts"),
        ("t.json", '{"prompts": []}', "contains no prompt pair"),
        ("t.json", json.dumps({"prompts": [RECORD, 3]}), "prompt 2: expected an object .* got int"),
        ("t.json", json.dumps({"prompts": [{"clean": "a"}]}), "corrupt, answers, wrong_answers missing"),
        ("t.json", '{"data": []}', "no task format accepts .*autocircuit-json"),
        ("t.jsonl", json.dumps(RECORD) + "\nnot json", "line 2: not JSON"),
        ("t.jsonl", json.dumps({**RECORD, "clean": ""}), "line 1: clean must be text or a list of token ids"),
        (
            "t.jsonl",
            json.dumps({**RECORD, "corrupt": [1, "b"]}),
            "corrupt must be text or a list of token ids",
        ),
        ("t.jsonl", json.dumps({**RECORD, "answers": "x"}), "answers must be a list"),
        ("t.jsonl", json.dumps({**RECORD, "answers": [-1]}), "answers must be a list"),
        ("t.jsonl", json.dumps({**RECORD, "wrong_answers": [True]}), "wrong_answers must be a list"),
        ("t.jsonl", "\n", "contains no prompt pair"),
        ("t.csv", "", "line 1: no columns clean and corrupted"),
        ("t.csv", "clean,wrong\na,b", "line 1: no columns clean and corrupted"),
        ("t.csv", "clean,corrupted,plural\na,b,1", "line 2: no answer columns; expected correct_idx"),
        ("t.csv", f"{IDS}\na,b,1,2\na,b,x,2", "line 3: correct_idx must be a token id .* got 'x'"),
        ("t.csv", f"{IDS}\na,b,1,1.5", "incorrect_idx must be a token id"),
        ("t.csv", f"{IDS}\na,b,1,[]", "incorrect_idx must be a token id"),
        ("t.csv", f"{IDS}\na,b,1", "line 2: incorrect_idx is empty"),
        ("t.csv", f"{IDS}\n,b,1,2", "line 2: clean is empty"),
        ("t.csv", f'{IDS}\n"a"x,b,1,2', "not CSV"),
        ("t.csv", "clean,corrupted,correct,incorrect\na,b, x,[1]", "incorrect must be text or a list"),
        ("t.csv", "clean,corrupted,correct_idx\nMary gave it to,b,17", "must be a greater-than prompt"),
        ("t.csv", "clean,corrupted,label\nin 1732 to 17,in 1701 to 17,31", "must be a greater-than prompt"),
        ("t.txt", "a", "no task format accepts"),
    ],
)
def test_malformed_files_are_one_line_usage_errors(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(UsageError, match=message) as caught:
        read_task_file(path, FORMATS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="not a file"):
        read_task_file(tmp_path / "none.csv", FORMATS)
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"clean": "\xff"}')
    with pytest.raises(UsageError, match="not UTF-8"):
        read_task_file(path, FORMATS)


class AlsoJson(TaskFormat):
    name = "also-json"
    summary = "another kind of JSON"
    suffixes = (".json",)

    def read(self, path: Path) -> list[PromptPair]:
        return [PAIR]


def test_formats_of_one_suffix_are_told_apart_by_content(tmp_path):
    formats = (*FORMATS, AlsoJson())
    assert read_task_file(write(tmp_path / "a.json", "[1]"), formats) == [PAIR]
    with pytest.raises(UsageError, match="any of the formats autocircuit-json, also-json"):
        read_task_file(write(tmp_path / "b.json", '{"prompts": []}'), formats)

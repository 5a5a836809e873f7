"""MIB's datasets as tasks, read from small copies of their layout and compared with a reader written out by hand."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from eap_plugin.api.prompts import task_source
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.host.kinds import KINDS
from eap_plugin.task.task import Task

NAMES = ("Ann", "Bob", "Cy", "Dee", "Zebulon", "Bartholomew")
LETTERS = ("A", "B", "C", "D", "E")
COMMON = (
    "Then Ann and Bob met. Cy gave Dee a key. The key is red. What color? A B C D E Answer: "
    "1 + 2 = 3 - 4 = 5 + 6 = 7 - 8 = 9 + 0 ="
)


def byte_pairs() -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer to which short names are one token, and long ones several."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator([COMMON] * 9, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", unk_token=None)


def pieces() -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words with a mark for spaces, as in SentencePiece; it does not know long names."""
    spaced = COMMON.replace(" ", "▁").replace("▁", " ▁").split()
    vocabulary = {text: i for i, text in enumerate(dict.fromkeys(["<unk>", "<s>", *spaced, *LETTERS, *"0123456789+-"]))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module", params=[byte_pairs, pieces], ids=lambda make: make.__name__)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return request.param()


def ioi_row(first: str, second: str, third: str) -> dict[str, Any]:
    start = f"Then {first} and {second} met."
    return {
        "prompt": f"{start} {second} gave",
        "metadata": {"subject": second, "indirect_object": first, "random_c": third, "place": None},
        "s2_io_flip_counterfactual": {"prompt": f"{start} {first} gave", "choices": [first, second]},
        "abc_counterfactual": {"prompt": f"{start} {third} gave", "choices": [first, second]},
    }


def choice_row(letters: tuple[str, ...], others: tuple[str, ...], key: int, other_key: int) -> dict[str, Any]:
    def prompt(shown: tuple[str, ...]) -> str:
        return f"The key is red. What color? {' '.join(shown)} Answer:"

    return {
        "prompt": prompt(letters),
        "choices": {"label": list(letters), "text": ["red"] * len(letters)},
        "answerKey": key,
        "symbol_counterfactual": {
            "prompt": prompt(others),
            "choices": {"label": list(others), "text": ["red"] * len(others)},
            "answerKey": other_key,
        },
    }


def sum_row(left: int, operator: str, right: int, other: tuple[int, int] | None) -> dict[str, Any]:
    def result(a: int, b: int) -> int:
        return a + b if operator == "+" else a - b

    counterfactual = None
    if other:
        counterfactual = {"prompt": f"{other[0]} {operator} {other[1]} =", "label": str(result(*other))}
    return {
        "prompt": f"{left} {operator} {right} =",
        "label": str(result(left, right)),
        "operator": operator,
        "random_counterfactual": counterfactual,
    }


ROWS: dict[str, list[dict[str, Any]]] = {
    "ioi": [
        ioi_row("Ann", "Bob", "Cy"),
        ioi_row("Zebulon", "Bob", "Cy"),
        ioi_row("Dee", "Cy", "Bartholomew"),
        *(ioi_row(a, b, c) for a, b, c in (("Bob", "Ann", "Dee"), ("Cy", "Dee", "Ann"), ("Dee", "Ann", "Bob"))),
    ],
    "copycolors_mcqa": [
        choice_row(("A", "B", "C", "D"), ("E", "C", "D", "B"), 1, 1),
        choice_row(("A", "B", "C", "D"), ("Bob", "Zebulon", "Ann", "D"), 2, 1),
        choice_row(("B", "C", "D", "E"), ("A", "B", "C", "D"), 0, 3),
    ],
    "arc_easy": [choice_row(("A", "B", "C"), ("C", "A", "B"), key, key) for key in (0, 1, 2)],
    "arc_challenge": [choice_row(("A", "B"), ("D", "C"), key, key) for key in (1, 0)],
    "arithmetic_addition": [
        sum_row(1, "+", 2, (3, 4)),
        sum_row(3, "+", 1, None),
        sum_row(2, "+", 2, (612, 733)),
        sum_row(7, "-", 4, (3, 1)),
        sum_row(5, "+", 3, (1, 1)),
    ],
    "arithmetic_subtraction": [sum_row(7, "-", 4, (5, 4)), sum_row(9, "-", 1, (7, 5)), sum_row(1, "+", 2, (3, 4))],
}
TASKS = {
    "mib/ioi": ("ioi", "s2_io_flip_counterfactual"),
    "mib/mcqa": ("copycolors_mcqa", "symbol_counterfactual"),
    "mib/arc-easy": ("arc_easy", "symbol_counterfactual"),
    "mib/arc-challenge": ("arc_challenge", "symbol_counterfactual"),
    "mib/arithmetic-addition": ("arithmetic_addition", "random_counterfactual"),
    "mib/arithmetic-subtraction": ("arithmetic_subtraction", "random_counterfactual"),
}


def write_copy(folder: Path, dataset: str) -> None:
    """Write a dataset as the hub has it: Parquet files of splits, and a card that names configurations."""
    config = "4_answer_choices" if dataset == "copycolors_mcqa" else "default"
    data = folder / dataset / (config if config != "default" else "data")
    data.mkdir(parents=True)
    files = []
    for split in ("train", "validation", "test"):
        rows = ROWS[dataset] if split == "train" else ROWS[dataset][::-1]
        path = data / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_list(rows).to_parquet(path)
        files.append({"split": split, "path": str(path.relative_to(folder / dataset))})
    card = {"configs": [{"config_name": config, "data_files": files}]}
    (folder / dataset / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        for dataset in ROWS:
            write_copy(folder, dataset)
    return folder


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, copies: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", copies / "cache")
    monkeypatch.setenv("EAP_PLUGIN_MIB", str(copies))


def load(name: str, tokenizer: Any, **given: Any) -> Task:
    source = task_source(name)
    assert not isinstance(source, list)
    return source.generate(tokenizer, **{"n_prompts": 64, "seed": 0, "prepend_bos": False, **given})


def read_by_hand(folder: Path, name: str, split: str, tokenizer: Any) -> list[tuple[list[int], list[int], int, int]]:
    """Read clean and corrupt ids, and the right and wrong id, of the rows that MIB keeps."""
    dataset, counterfactual = TASKS[name]
    (path,) = (folder / dataset).rglob(f"{split}-*.parquet")

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    kept = []
    for row in pyarrow.parquet.read_table(path).to_pylist():
        other = row[counterfactual]
        if dataset == "ioi":
            right, wrong, third = (
                ids(" " + row["metadata"][who]) for who in ("indirect_object", "subject", "random_c")
            )
            keep = len(right) == len(wrong) == len(third)
        elif "label" not in row:
            right = ids(row["choices"]["label"][row["answerKey"]])
            wrong = ids(other["choices"]["label"][other["answerKey"]])
            keep = len(right) == len(wrong)
        else:
            if other is None or other["prompt"] is None or row["operator"] != ("-" if "sub" in name else "+"):
                continue
            right, wrong = ids(row["label"]), ids(other["label"])
            keep = len(right) == len(wrong) == 1
        if keep and tokenizer.unk_token_id not in (right[0], wrong[0]):
            kept.append((ids(row["prompt"]), ids(other["prompt"]), right[0], wrong[0]))
    return kept


def content(task: Task) -> list[tuple[list[int], list[int], int, int]]:
    rows = zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True)
    return [(list(clean), list(corrupt), *right, *wrong) for clean, corrupt, right, wrong in rows]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_rows_are_those_of_a_reader_written_by_hand(name, split, tokenizer, copies):
    task = load(name if split == "train" else f"{name}:{split}", tokenizer)
    expected = read_by_hand(copies, name, split, tokenizer)
    assert content(task) == expected
    assert len(expected) >= 2
    assert len(task) + len(task.dropped) == len(ROWS[TASKS[name][0]])
    assert task.name == (name if split == "train" else f"{name}:{split}")


def test_rows_that_mib_leaves_out_are_reported_with_the_reason():
    words = byte_pairs()
    reasons = {name: [d.reason for d in load(name, words).dropped] for name in TASKS}
    assert reasons == {
        "mib/ioi": [
            "the names Zebulon, Bob, Cy have different numbers of tokens",
            "the names Dee, Cy, Bartholomew have different numbers of tokens",
        ],
        "mib/mcqa": ["the answers C and Zebulon have different numbers of tokens"],
        "mib/arc-easy": [],
        "mib/arc-challenge": [],
        "mib/arithmetic-addition": [
            "its random_counterfactual.prompt is empty",
            "the result 1345 is not a single token",
            "its operator is -, not +",
        ],
        "mib/arithmetic-subtraction": ["its operator is +, not -"],
    }
    assert load("mib/ioi", pieces()).dropped[0].reason == "the tokenizer does not know the answer ' Zebulon'"


def test_first_rows_in_order_with_seed_0_and_shuffled_with_another(tokenizer):
    every, few = load("mib/ioi", tokenizer), load("mib/ioi", tokenizer, n_prompts=2)
    assert content(few) == content(every)[:2]
    assert every.dropped[: len(few.dropped)] == few.dropped
    shuffled, again = (load("mib/ioi", tokenizer, seed=3) for _ in range(2))
    assert content(shuffled) == content(again) != content(every)
    assert sorted(content(shuffled)) == sorted(content(every))


def test_beginning_of_sequence_is_prepended_to_prompts_only(tokenizer):
    with_bos, without = (load("mib/mcqa", tokenizer, prepend_bos=bos) for bos in (True, False))
    assert with_bos.clean == tuple((tokenizer.bos_token_id, *ids) for ids in without.clean)
    assert with_bos.answers == without.answers


def test_jsonl_files_are_read_too(tmp_path, monkeypatch, tokenizer):
    (tmp_path / "ioi").mkdir()
    (tmp_path / "ioi" / "train.jsonl").write_text("\n".join(map(json.dumps, ROWS["ioi"])))
    from_parquet = load("mib/ioi", tokenizer)
    monkeypatch.setenv("EAP_PLUGIN_MIB", str(tmp_path))
    assert load("mib/ioi", tokenizer).digest == from_parquet.digest
    with pytest.raises(UsageError, match=r"ioi has no split 'validation'; it has train$"):
        load("mib/ioi:validation", tokenizer)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mib/ioi", {"metadata": {"subject": "Ann"}}, "mib-bench/ioi has no field 'metadata.indirect_object'; task"),
        ("mib/ioi", {"s2_io_flip_counterfactual": "text"}, "no field 's2_io_flip_counterfactual.prompt'"),
        ("mib/ioi", {"prompt": 3}, "prompt of mib-bench/ioi must be text, got int"),
        ("mib/ioi", {"prompt": None}, "task 'mib/ioi' has no usable prompt pair: its prompt is empty"),
        ("mib/arc-easy", {"answerKey": 7}, r"answerKey of task 'mib/arc-easy' must number one of \['A', .*, got 7"),
        ("mib/arc-easy", {"choices": ["A"]}, "no field 'choices.label'"),
        ("mib/arithmetic-addition", {"label": None}, "no usable prompt pair: its label is empty"),
    ],
)
def test_another_layout_is_a_one_line_error(name, change, message, tmp_path, monkeypatch, tokenizer):
    dataset, _ = TASKS[name]
    (tmp_path / dataset).mkdir()
    (tmp_path / dataset / "train.jsonl").write_text(json.dumps({**ROWS[dataset][0], **change}))
    monkeypatch.setenv("EAP_PLUGIN_MIB", str(tmp_path))
    with pytest.raises(UsageError, match=message) as caught:
        load(name, tokenizer)
    assert "\n" not in str(caught.value)


def test_wrong_splits_and_folders_are_one_line_errors(tmp_path, monkeypatch, tokenizer):
    with pytest.raises(UsageError, match="task 'mib/ioi' has no split 'dev'; choose train, validation, test"):
        task_source("mib/ioi:dev")
    with pytest.raises(UsageError, match="task 'ioi' has no part 'test'; write 'ioi' alone"):
        task_source("ioi:test")
    with pytest.raises(UsageError, match="unknown task 'mib/oi'; did you mean 'mib/ioi'"):
        task_source("mib/oi")
    monkeypatch.setenv("EAP_PLUGIN_MIB", str(tmp_path))
    with pytest.raises(UsageError, match="EAP_PLUGIN_MIB must name the folder that holds a copy of ioi"):
        load("mib/ioi", tokenizer)
    (tmp_path / "ioi").mkdir()
    (tmp_path / "ioi" / "train.parquet").write_bytes(b"not Parquet")
    with pytest.raises(UsageError, match="cannot read the dataset in ") as caught:
        load("mib/ioi", tokenizer)
    assert "\n" not in str(caught.value)


def test_missing_library_is_a_one_line_error(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EapPluginError, match="pip install datasets"):
        load("mib/ioi", tokenizer)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.delenv("EAP_PLUGIN_MIB")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", no_answer)


@pytest.mark.usefixtures("unreachable")
def test_unreachable_hub_is_told_at_once(tokenizer):
    start, offline = time.monotonic(), datasets.config.HF_HUB_OFFLINE
    with pytest.raises(EapPluginError, match="hub cannot be reached, and mib-bench/ioi was not downloaded before"):
        load("mib/ioi", tokenizer)
    assert time.monotonic() - start < 2
    assert offline == datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("unreachable")
def test_what_was_downloaded_before_is_read_without_a_hub(monkeypatch, tokenizer, copies, tmp_path):
    for dataset in ("ioi", "copycolors_mcqa"):
        datasets.load_dataset(str(copies / dataset), cache_dir=str(tmp_path / "made"))
        shutil.copytree(tmp_path / "made" / dataset, tmp_path / "cache" / f"mib-bench___{dataset}")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("mib/ioi", "mib/mcqa"):
        assert content(load(f"{name}:test", tokenizer)) == read_by_hand(copies, name, "test", tokenizer)


def test_names_may_have_one_group():
    class Named:
        summary, generate = "", None

        def __init__(self, name: str) -> None:
            self.name = name

    assert KINDS["tasks"].check(Named("mib/ioi")) == "mib/ioi"
    for wrong in ("mib/", "/ioi", "a/b/c", "mib/../x", "mib//ioi"):
        with pytest.raises(EapPluginError, match="at most one '/'"):
            KINDS["tasks"].check(Named(wrong))

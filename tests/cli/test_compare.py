"""``eap compare`` and ``eap combine``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import eap_plugin
from eap_plugin import Circuit, PruneScores
from eap_plugin.cli import main
from eap_plugin.model.graph import Graph
from tests.results.test_grouped import with_groups
from tests.results.test_scores import random_scores

GRAPH = Graph(3, 4, 2)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{name}.safetensors" for name in ("first", "second", "third")]
    for seed, path in enumerate(paths):
        random_scores(GRAPH, seed=seed, algorithm=path.stem, model="m").save(path)
    return [str(path) for path in paths]


def eap(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, args)


def both(*args: str) -> tuple[str, Any]:
    """Return what a command prints, and its JSON document."""
    text, document = eap(*args), eap(*args, "--json")
    assert (text.exit_code, document.exit_code) == (0, 0), text.output + document.output
    assert all(len(line) <= 80 for line in text.stdout.splitlines())
    return text.stdout, json.loads(document.stdout)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_two_files_of_scores(files: list[str]) -> None:
    text, document = both("compare", *files[:2], "-k", "5", "-k", "20")
    found = eap_plugin.compare(*files[:2], k=[5, 20])
    assert document == plain(found.to_dict())
    assert text == found.table() + "\n"
    assert f"rank correlation of {GRAPH.n_edges} edges" in text and "By chance" in text


def test_three_files_of_scores(files: list[str]) -> None:
    text, document = both("compare", *files)
    assert document["names"] == files and len(document["pairs"]) == 3
    assert "Rank correlation of |score|" in text and "C  " in text


def test_one_file_with_groups(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with_groups(GRAPH, 8).save(path)
    text, document = both("compare", str(path), "-k", "5", "--seed", "3")
    assert document == plain(eap_plugin.compare(path, k=[5], seed=3).to_dict())
    assert "100 random splits" in text and "8 groups of prompts" in text


def test_circuits(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for seed, path in enumerate(paths):
        scores = random_scores(GRAPH, seed=seed)
        Circuit(GRAPH, scores > 0.5).save(path)
    text, document = both("compare", *paths)
    assert document == plain(eap_plugin.compare(*paths).to_dict())
    assert "Jaccard" in text and "Only in A" in text


def test_against_a_known_circuit(files: list[str], tmp_path: Path) -> None:
    truth = tmp_path / "known.txt"
    truth.write_text("m0->logits\na0.h1->a1.h2<q>\n")
    text, document = both("compare", files[0], "--truth", str(truth), "-k", "30")
    found = eap_plugin.compare_with_truth(files[0], truth, k=[30])
    assert document == plain(found.to_dict()) and text == found.table() + "\n"
    assert "AUROC as in MIB" in text
    text, documents = both("compare", *files, "--truth", str(truth))
    assert [one["name"] for one in documents] == files and text.count("average precision") == 3


def test_combine(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    args = ("combine", *files, "--how", "rank-mean", "--normalize", "global", "-o", str(path))
    text = eap(*args)
    assert text.exit_code == 0 and "rank-mean of first, second, third: 190 edges" in text.stdout
    parts = [PruneScores.load(file) for file in files]
    assert PruneScores.load(path) == eap_plugin.combine(parts, "rank-mean", "global")
    document = json.loads(eap(*args, "--json", "--overwrite").stdout)
    assert document["metadata"]["combined"] == {"how": "rank-mean", "normalize": "global"}
    shown = eap("show", str(path)).stdout
    assert "first, m; second, m; third, m" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("compare",), "Missing argument 'FILES...'"),
        (("compare", "none.safetensors", "x"), "there is no file none.safetensors"),
        (("compare", "a", "b", "--seed", "1"), "--seed is for the random halves of a single file; leave it out"),
        (("combine", "a", "b"), "Missing option '--output'"),
    ],
)
def test_mistakes(args: tuple[str, ...], said: str) -> None:
    result = eap(*args)
    assert result.exit_code == 2 and said in result.stderr

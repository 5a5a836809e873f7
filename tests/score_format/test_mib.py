"""Folders of MIB's circuit track, and the check before they are submitted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import eap_plugin
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.eap_ig.pt_file import read_pt
from eap_plugin.score_format.mib import PERCENTAGES
from eap_plugin.score_format.mib_check import SIZES, check_submission

GPT2 = Graph(12, 12, 12)


def scores(graph: Graph = GPT2) -> PruneScores:
    matrix = torch.randn(len(graph.sources), len(graph.readers), generator=torch.Generator().manual_seed(0))
    return PruneScores(graph, matrix * edge_mask(graph), {"d_model": 768, "n_prompts": 100})


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a submission with importances, and with nine circuits of a model with grouped keys."""
    folder = tmp_path_factory.mktemp("submission")
    for name, results in (("ioi_gpt2", scores()), ("mcqa_gpt2", scores()), ("mcqa_qwen2.5", scores(Graph(24, 14, 2)))):
        format = "mib" if name != "mcqa_gpt2" else "mib-circuits"
        eap_plugin.score_formats()[format].write(results, folder / name)
    return folder


def test_a_submission_is_taken(submitted: Path, tmp_path: Path) -> None:
    assert check_submission(submitted) == []
    assert sorted(path.name for path in (submitted / "ioi_gpt2").iterdir()) == ["importances.pt"]
    (tmp_path / "abs_True").symlink_to(submitted)
    assert check_submission(tmp_path) == []


def test_models_have_mibs_numbers_of_edges() -> None:
    """Source: the sizes that EAP-IG's own graphs of these models have."""
    graphs = {model: Graph(layers, heads, heads) for model, (layers, heads) in SIZES.items()}
    edges = {model: graph.n_edges for model, graph in graphs.items()}
    assert edges == {"gpt2": 32_491, "qwen2.5": 179_749, "gemma2": 74_218, "llama3": 1_592_881}


def test_nine_circuits_are_mibs_selections(submitted: Path) -> None:
    """Of the largest absolute scores, int(p · edges) of them, pruned."""
    results = scores()
    for size in PERCENTAGES:
        file = read_pt(submitted / "mcqa_gpt2" / f"{size}-percent.pt")
        wanted = eap_plugin.select(results, edges=int(size / 100 * 32_491))
        assert torch.equal(file.edges, wanted.edges)
        assert int(file.edges.sum()) <= size / 100 * 32_491


def test_importances_are_read_as_any_file(submitted: Path) -> None:
    found = eap_plugin.load_scores(submitted / "ioi_gpt2")
    assert isinstance(found, PruneScores)
    assert torch.equal(found.matrix, scores().matrix / 100)
    grouped = eap_plugin.load_scores(submitted / "mcqa_qwen2.5", graph=Graph(24, 14, 2))
    assert isinstance(grouped, PruneScores)
    assert torch.equal(grouped.matrix, scores(Graph(24, 14, 2)).matrix / 100)
    with pytest.raises(UsageError, match="9 circuits; give the path of one of its files"):
        eap_plugin.load_scores(submitted / "mcqa_gpt2")
    assert eap_plugin.load_circuit(submitted / "mcqa_gpt2" / "50-percent.pt").n_edges == 15_215


def test_every_fault_has_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    folder.mkdir()
    small = scores(Graph(2, 2, 2))
    formats = eap_plugin.score_formats()
    formats["mib-circuits"].write(small, folder / "ioi_interpbench")
    whole = eap_plugin.select(small, edges=small.n_edges)
    formats["eap-ig-pt"].write(whole, folder / "ioi_interpbench" / "5-percent.pt")
    formats["mib"].write(small, folder / "ioi_gpt2")
    (folder / "ioi_llama3").mkdir()
    (folder / "ioi_gemma2").mkdir()
    (folder / "ioi_gemma2" / "importances.pt").write_text("no tensors")
    (folder / "IOI-gpt2").mkdir()
    faults = check_submission(folder)
    assert [fault.partition("/submission")[2].split(": ")[0] for fault in faults] == [
        "/IOI-gpt2", "/ioi_gemma2/importances.pt is not a file of torch.save, or is damaged (File is not a zip file)",
        "/ioi_gpt2/importances.pt", "/ioi_interpbench/50-percent.pt", "/ioi_interpbench/5-percent.pt", "/ioi_llama3",
        "",
    ]  # fmt: skip
    says = [
        "not named TASK_MODEL",
        "damaged",
        "gpt2 has 12 layers of 12 heads",
        "more than 20 %",
        "more than 50 %",
        "found 0 files",
    ]
    assert all(part in fault for part, fault in zip([*says, "at least 2 tasks"], faults, strict=True))
    assert not any("\n" in fault for fault in faults)


def test_a_folder_needs_mibs_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named TASK_MODEL, such as ioi_gpt2"):
        eap_plugin.score_formats()["mib"].write(scores(), tmp_path / "gpt2-ioi")
    with pytest.raises(UsageError, match="no is not a folder"):
        check_submission(tmp_path / "no")

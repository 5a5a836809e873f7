"""The commands that run the shipped models: run, show, check and demo."""

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from eap_plugin import PruneScores, api
from eap_plugin.cli import main
from eap_plugin.errors import UsageError
from eap_plugin.runner.self_check.self_check import CheckReport, CheckRow
from eap_plugin.shipped import SHIPPED

RUN = ("run", "ioi-gpt2", "-t", "ioi", "-n", "4")
CLEAN = "When Mary and John met at the park, John handed a book to"
CORRUPT = "When Mary and John met at the park, Tom handed a book to"


def eap(*args):
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="eap", env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def scores():
    model = api.load_model("ioi-gpt2")
    return api.prune_scores(model, api.load_task("ioi", model, n_prompts=4))


@pytest.fixture
def prompts(tmp_path):
    """Return a function that writes a file of prompt pairs."""

    def write(*pairs):
        path = tmp_path / "prompts.jsonl"
        keys = ("clean", "corrupt", "answers", "wrong_answers")
        path.write_text("\n".join(json.dumps(dict(zip(keys, pair, strict=True))) for pair in pairs))
        return path

    return write


def test_run_lists_the_strongest_edges(scores):
    result = eap(*RUN, "--top", 5)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Edge"))
    assert lines[start].rstrip().endswith("Score (logits)")
    listed = [line.split() for line in lines[start + 1 : start + 6]]
    assert [name for name, _ in listed] == [edge.name for edge in scores.top(5)]
    assert [float(s) for _, s in listed] == pytest.approx([edge.score for edge in scores.top(5)], rel=1e-3)
    assert "4 prompt pairs of ioi" in lines[0]
    assert f"{scores.metadata['clean_metric']:+.4g}" in lines[1]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    assert "Not saved" in lines[-1]


@pytest.mark.parametrize(
    ("algorithm", "unit"),
    [("random", "random"), ("activation-magnitude", "size of activation"), ("information-flow-routes", "share")],
)
def test_scores_have_the_unit_of_their_algorithm(algorithm, unit):
    result = eap(*RUN, "-a", algorithm, "--top", 1)
    assert f"Score ({unit})" in result.stdout
    assert "corrupt prompts (logits)" in result.stdout


def test_piped_tables_have_no_trailing_blanks():
    for command in (RUN, ("tasks",), ("algorithms", "eap"), ("plugins", "--all")):
        lines = eap(*command).stdout.splitlines()
        assert lines and all(line == line.rstrip() for line in lines)


def test_loading_shows_no_progress_bar(capfd):
    from transformers.utils import logging

    api.load_model("ioi-gpt2")
    assert logging.is_progress_bar_enabled()
    said = capfd.readouterr()
    assert said.out == said.err == ""


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("transformer.h.2.mlp.c_fc.weight", r"weights of layer 2 hold NaN \(.*"),
        ("transformer.ln_f.weight", r"weights hold NaN \(.*"),
    ],
)
def test_weights_that_are_nan_are_named(where, says, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(SHIPPED["ioi-gpt2"])
    model.get_parameter(where).data.view(-1)[3] = float("nan")
    model.save_pretrained(tmp_path)
    for file in SHIPPED["ioi-gpt2"].glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    result = eap("run", tmp_path, "-t", "ioi", "-n", 4)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert re.search(says, result.stderr)


def test_files_without_a_unit_have_that_of_the_metric(scores, tmp_path):
    older = {name: value for name, value in scores.metadata.items() if name != "score_unit"}
    PruneScores(scores.graph, scores.matrix, older).save(tmp_path / "s.safetensors")
    assert "Score (logits)" in eap("show", tmp_path / "s.safetensors").stdout


def test_run_saves_what_the_api_computes(scores, tmp_path):
    path = tmp_path / "s.safetensors"
    result = eap(*RUN, "-o", path, "--batch-size", 2)
    assert result.exit_code == 0
    assert str(path) in result.stdout
    saved = PruneScores.load(path)
    assert saved.allclose(scores, rtol=1e-4, atol=1e-6)
    assert saved.metadata["task_digest"] == scores.metadata["task_digest"]
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_run_passes_options_on():
    document = json.loads(eap(*RUN, "-O", "positions=true", "--top", 3, "--json").stdout)
    assert document["metadata"]["options"]["positions"] is True
    assert all(isinstance(edge["position"], int) for edge in document["edges"])
    assert "Position" in eap(*RUN, "-O", "positions=true").stdout
    assert eap(*RUN, "-a", "random", "-O", "seed=1").stdout != eap(*RUN, "-a", "random").stdout


def test_json_is_one_document_and_nothing_else(scores):
    command = [sys.executable, "-m", "eap_plugin", *RUN, "--json", "--top", "2"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(run.stdout)
    assert run.stderr == ""
    assert document["n_edges"] == scores.n_edges
    assert [edge["name"] for edge in document["edges"]] == [edge.name for edge in scores.top(2)]
    assert document["metadata"]["n_prompts"] == 4
    assert document["output"] is None


def test_run_refuses_where_there_is_no_behaviour(prompts, tmp_path):
    path, output = prompts((CLEAN, CORRUPT, [" John"], [" Mary"])), tmp_path / "s.safetensors"
    output.write_text("earlier scores")
    asked = ("run", "ioi-gpt2", "-t", path, "-o", output, "--overwrite")
    refused = eap(*asked)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "--force" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert output.read_text() == "earlier scores"
    forced = eap(*asked, "--force")
    assert forced.exit_code == 0
    metadata = PruneScores.load(output).metadata
    assert metadata["clean_metric"] <= metadata["corrupt_metric"]
    for name in ("clean_metric", "corrupt_metric"):
        assert f"{metadata[name]:+#.4g}" in refused.stderr


def test_run_tells_which_prompts_it_drops(prompts):
    longer = CORRUPT.replace("Tom", "Tom Tom")
    path = prompts(
        (CLEAN, CORRUPT, [" Mary"], [" John"]),
        *[(CLEAN, longer, [" Mary"], [" John"])] * 3,
        (CLEAN, CLEAN, [" Mary"], [" John"]),
    )
    result = eap("run", "ioi-gpt2", "-t", path)
    assert result.exit_code == 0
    assert result.stderr.startswith("4 of 5 prompt pairs were left out:\n  3 x clean has 15 tokens")
    assert "1 x clean and corrupt are the same" in result.stderr
    assert result.stderr.count(CLEAN[:40]) == 3
    assert eap("run", "ioi-gpt2", "-t", path, "--quiet").stderr == ""
    in_json = eap("run", "ioi-gpt2", "-t", path, "--json")
    assert in_json.stderr == ""
    assert [d["prompt"] for d in json.loads(in_json.stdout)["dropped"]] == [CLEAN] * 4


def test_an_existing_output_is_replaced_only_on_request(scores, tmp_path, monkeypatch):
    """Every command that writes says what is there before it computes anything."""
    made, circuit = tmp_path / "s.safetensors", tmp_path / "circuit.json"
    scores.save(made)
    assert eap("circuit", made, "--edges", 5, "-o", circuit).exit_code == 0
    (tmp_path / "notes.json").write_text("mine")
    (tmp_path / "ioi_gpt2").mkdir()
    (tmp_path / "ioi_gpt2" / "importances.pt").write_text("mine")
    about = scores.metadata
    what = f"scores of eap on ioi-gpt2, task ioi, made {about['created']}"
    commands = [
        (RUN, made, what),
        (("combine", made, made), made, what),
        (("circuit", made, "--edges", 3), circuit, what.replace("scores", "a circuit")),
        (("evaluate", circuit), tmp_path / "notes.json", "4 bytes"),
        (("export", made, "--format", "csv"), tmp_path / "notes.json", "4 bytes"),
        (("export", made, "--format", "mib-circuits"), tmp_path / "ioi_gpt2", "a folder with files"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(api, "load_model", lambda *args, **kwargs: pytest.fail("the model was loaded"))
        for command, path, content in commands:
            refused = eap(*command, "-o", path)
            says = f"Error: {path} exists ({content}); pass --overwrite to replace it\n"
            assert (refused.exit_code, refused.stderr) == (2, says)
    assert (tmp_path / "notes.json").read_text() == "mine"
    for command, path, _ in commands:
        assert eap(*command, "-o", path, "--overwrite").exit_code == 0
    assert (tmp_path / "notes.json").read_text().startswith("# eap_plugin")
    assert "add -o FILE" in eap(*RUN, "--overwrite").stderr


@pytest.mark.parametrize("output", ["", "missing/s.safetensors"])
def test_output_is_checked_before_anything_is_loaded(output, tmp_path, monkeypatch):
    def load_model(*args, **kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(api, "load_model", load_model)
    result = eap(*RUN, "-o", tmp_path / output)
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_interrupted_run_writes_nothing(monkeypatch, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "prune_scores", interrupt)
    result = eap(*RUN, "-o", tmp_path / "s.safetensors")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_interrupt_that_a_library_swallows_is_not_lost(monkeypatch):
    def swallow(*args, **kwargs):
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("half imported")

    monkeypatch.setattr(api, "load_model", swallow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore the signal
    try:
        assert eap(*RUN).exit_code == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_damaged_model_is_one_line(tmp_path):
    for file in SHIPPED["ioi-gpt2"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:5000])
    result = eap("run", tmp_path, "-t", "ioi")
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_show_reads_what_run_saved(scores, tmp_path):
    path = tmp_path / "s.safetensors"
    scores.save(path)
    text = eap("show", path, "--top", 3).stdout
    assert scores.metadata["task_digest"] in text
    assert "prompt pairs    4" in text
    assert [line.split()[0] for line in text.splitlines()[-3:]] == [edge.name for edge in scores.top(3)]
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads(eap("show", path, "--json").stdout)
    assert document["metadata"] == scores.metadata
    assert document["graph"]["n_layers"] == 3
    assert [e["score"] for e in document["edges"]] == [edge.score for edge in scores.top(10)]


def test_check_passes_the_shipped_models():
    for name in SHIPPED:
        result = eap("check", name, "-t", "ioi")
        assert result.exit_code == 0
        assert f"OK: edge scores are meaningful on {name}." in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("residue", [0.3, float("nan")])
def test_check_fails_where_a_residue_is_too_large(monkeypatch, residue):
    rows = (CheckRow(0, "reader q", 1e-7), CheckRow(1, "reader q", residue))
    monkeypatch.setattr(api, "check", lambda model, task, **how: CheckReport("odd", rows, 1e-4))
    result = eap("check", "ioi-gpt2")
    assert result.exit_code == 1
    assert "FAILED: odd differs at 1 of 2 places, first at layer 1, reader q." in " ".join(result.stdout.split())
    assert f"!{residue:.1e}" in result.stdout
    document = eap("check", "ioi-gpt2", "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["ok"] is False


def test_task_mistake_comes_with_the_api_s_words(monkeypatch):
    def refuse(*args, **kwargs):
        raise UsageError("line one\nline two")

    monkeypatch.setattr(api, "load_task", refuse)
    result = eap(*RUN)
    assert (result.exit_code, result.stderr) == (2, "Error: line one line two\n")


def test_demo_shows_that_strong_edges_matter_and_random_ones_do_not():
    document = json.loads(eap("demo", "--json").stdout)
    rows = {row["fraction"]: row for row in document["faithfulness"]}
    assert rows[0.1]["eap"] > 0.8
    assert max(row["random"] for row in rows.values()) < 0.2
    result = eap("demo")
    assert result.exit_code == 0
    assert document["edges"][0]["name"] in result.stdout
    assert f"{rows[0.1]['eap']:.1%}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.safetensors"
    assert eap(*RUN, "--seed", 5, "-o", path).exit_code == 0
    return path


def test_a_file_is_enough_to_evaluate(scored, tmp_path):
    result = eap("evaluate", scored, "--sizes", "20,0.5", "--signed", "--random", 2, "-o", tmp_path / "eval.json")
    assert (result.exit_code, result.stderr) == (0, "")
    model = api.load_model("ioi-gpt2")
    task = api.load_task("ioi", model, n_prompts=4, seed=5)
    scores = PruneScores.load(scored)
    want = api.evaluate(model, task, scores, sizes=[20, 0.5], signed=True, random=2)
    assert want.table() in "\n".join(line.rstrip() for line in result.stdout.splitlines())
    saved = json.loads((tmp_path / "eval.json").read_text())
    assert [point["faithfulness"] for point in saved["points"]] == [point.faithfulness for point in want.points]
    circuit = tmp_path / "circuit.json"
    assert eap("circuit", scored, "--edges", 20, "--signed", "-o", circuit).exit_code == 0
    document = json.loads(eap("evaluate", circuit, "--json").stdout)
    assert document["points"][0]["faithfulness"] == want.points[0].faithfulness


def test_other_prompts_or_another_model_are_noticed(scored, tmp_path):
    scores = PruneScores.load(scored)
    other = tmp_path / "other.safetensors"
    for change, message in (
        ({"task_digest": "0"}, "are not those that the file's scores were computed on"),
        ({"clean_metric": 1.0}, "this is not the same model, or it is run differently"),
    ):
        PruneScores(scores.graph, scores.matrix, {**scores.metadata, **change}).save(other)
        result = eap("evaluate", other, "--sizes", "0.5")
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
        assert eap("evaluate", other, "--sizes", "0.5", "--anyway").exit_code == 0
    refused = eap("evaluate", scored, "--sizes", "many")
    assert (refused.exit_code, "such as 20,0.1,0.5" in refused.stderr) == (2, True)

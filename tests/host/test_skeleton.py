"""``eap plugins new`` writes a distribution under its own name, or says in one line why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eap_plugin.cli import main
from eap_plugin.host.skeleton import SAMPLES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*args: str) -> Result:
    return CliRunner().invoke(main, ["plugins", "new", *args], prog_name="eap")


@pytest.mark.parametrize("kind", SAMPLES)
def test_everything_bears_the_new_name(folder: Path, kind: str) -> None:
    done = new("my-thing", "--kind", kind)
    assert done.exit_code == 0
    assert "cd my-thing && pip install -e '.[test]' && pytest" in done.stdout
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {"my-thing/pyproject.toml", "my-thing/my_thing/plugin.py", "my-thing/tests/test_my_thing.py"} <= set(files)
    assert len(files) == sum(
        p.suffix != ".pyc" and p.is_file() for p in (ROOT / "examples" / SAMPLES[kind].folder).rglob("*")
    )
    for name, path in files.items():
        text = path.read_text()
        assert not any(old in name + text for old in ("eap-abs", "eap_abs", "EapAbs", "toy-lm", "toy_lm", "ToyLM"))
        if path.suffix == ".py":
            compile(text, name, "exec")
    assert 'my-thing = "my_thing.plugin"' in files["my-thing/pyproject.toml"].read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My_Thing", "lower-case letters, digits and single '-', such as my-method; got 'My_Thing'"),
        ("../other", "got '../other'"),
        ("-x", "No such option"),
        ("json", "would be called json, which is already the name of a module here"),
        ("lambda", "would be called lambda, which is already the name of a module here"),
        ("eap-plugin", "would be called eap_plugin, which is already the name of a module here"),
    ],
)
def test_a_bad_name_is_refused_in_one_line(folder: Path, name: str, said: str) -> None:
    done = new(name)
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(folder.iterdir()) == []
    if name != "-x":
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


def test_a_folder_that_is_there_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine").mkdir()
    monkeypatch.syspath_prepend(folder)  # as with `python -m eap_plugin`, which finds the folder as a package
    done = new("mine")
    assert done.exit_code == 2
    assert done.stderr == "Error: mine already exists; choose another name, or remove it first\n"
    assert list((folder / "mine").iterdir()) == []


def test_a_kind_that_there_is_not_is_refused(folder: Path) -> None:
    done = new("mine", "--kind", "visualizer")
    assert done.exit_code == 2
    assert "'algorithm', 'backend'" in done.stderr

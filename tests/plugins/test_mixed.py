"""The samples and eight broken plugins, installed at once: each fault is told by name, and all else works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugins.broken import BROKEN, version_of, write_broken
from tests.plugins.environment import SAMPLES, Environment

SCORE = """
import json, eap_plugin
from torch import nn
model = eap_plugin.load_model("ioi-llama")
task = eap_plugin.load_task("ioi", model, n_prompts=4)
inner = model.bridge.original_model
eap_plugin.check(model)
count = lambda: sum(len(m._forward_hooks) for m in inner.modules())
before, found = count(), {}
for name in ("eap", "eap-abs", "random", "wrong-shape", "gives-nan", "leaves-hooks", "fails-midway"):
    try:
        scores = eap_plugin.prune_scores(model, task, algorithm=name)
        found[name] = [str(scores), float(scores.matrix.abs().sum())]
    except Exception as error:
        found[name] = "; ".join([type(error).__name__, str(error), *getattr(error, "__notes__", [])])
print(json.dumps({"found": found, "hooks": [before, count()], "algorithms": list(eap_plugin.algorithms())}))
"""


@pytest.fixture(scope="module")
def mixed(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Install everything in the environment."""
    environment.install(*SAMPLES.values(), *write_broken(tmp_path_factory.mktemp("broken")))
    yield environment
    environment.uninstall(*SAMPLES, *BROKEN)


def named(name: str) -> str:
    """Return the name and version of a broken plugin as messages give them."""
    return f"{name}:{name} {version_of(name)}"


def test_plugins_are_listed_with_what_is_wrong(mixed: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    shown = mixed.eap("plugins", "--check")
    assert shown.returncode == 1
    with capsys.disabled():
        print(f"\n{shown.stdout}")
    document = mixed.json("plugins")
    plugins = {p["name"].split(":")[0]: p for p in document["plugins"]}
    failed = {"raises-on-import", "needs-a-package", "hook-of-tomorrow"}
    assert {name for name, plugin in plugins.items() if plugin["state"] == "failed"} == failed
    assert plugins.keys() == SAMPLES.keys() | BROKEN.keys()
    assert all(plugins[name]["version"] == version_of(name) for name in BROKEN)
    assert plugins["toy-lm"]["hooks"] == ["register_backends"]
    for name, said in {
        "raises-on-import": "RuntimeError: no licence found",
        "needs-a-package": "No module named 'a_package_that_is_missing' (install the package that provides",
        "hook-of-tomorrow": "unknown hook 'register_visualizers'",
    }.items():
        (line,) = [line for line in document["warnings"] if f"plugin {named(name)} failed: " in line]
        assert said in line
        assert line.endswith(f"; update {name}, tell its author, or set EAP_PLUGIN_DISABLE={name}:{name}")
        assert line in shown.stdout
    assert f"algorithm 'eap' is registered by {named('claims-eap')} and by eap-plugin:algorithms" in shown.stdout


def test_listing_shows_what_works_and_tells_the_rest(mixed: Environment) -> None:
    listed = mixed.eap("algorithms", "--json")
    assert listed.returncode == 0
    names = [entry["name"] for entry in mixed.json("algorithms")]
    assert {"eap", "eap-abs", "random", "wrong-shape"} <= set(names)
    assert f"algorithm 'eap' is registered by {named('claims-eap')} and by" in listed.stderr
    assert "toy-lm" in [entry["name"] for entry in mixed.json("backends")]


@pytest.fixture(scope="module")
def scored(mixed: Environment) -> Any:
    """Return the scores of each algorithm."""
    return mixed.evaluate(SCORE)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong-shape", "returned edge scores of shape [15, 28], not [sources=16, readers=28]"),
        ("gives-nan", "returned scores that are not finite (1 of 448) on ioi-llama"),
        ("leaves-hooks", "left the model changed (1 hook on "),
    ],
)
def test_what_a_provider_does_wrong_is_told_by_name(scored: Any, name: str, said: str) -> None:
    error = scored["found"][name]
    assert error.startswith(f"EapPluginError; algorithm {name!r} of plugin {named(name)} {said}")
    assert error.endswith(f"; update {name}, tell its author, or set EAP_PLUGIN_DISABLE={name}:{name}")


def test_the_others_work_and_the_model_is_left_as_it_was(scored: Any) -> None:
    for name in ("eap-abs", "random"):
        text, total = scored["found"][name]
        assert text == f"<PruneScores: {name} scores of 190 edges>"
        assert total > 1
    assert scored["hooks"][0] == scored["hooks"][1]
    assert scored["found"]["fails-midway"] == (
        f"KeyError; 'layer 7'; in algorithm 'fails-midway' of plugin {named('fails-midway')}"
    )


def test_a_built_in_name_is_kept_unless_another_plugin_is_preferred(mixed: Environment, scored: Any) -> None:
    assert "eap" in scored["algorithms"]
    code = "import json, eap_plugin; print(json.dumps(eap_plugin.algorithms()['eap'].summary))"
    assert mixed.evaluate(code).startswith("Edge Attribution Patching")
    assert mixed.evaluate(code, EAP_PLUGIN_PREFER="claims-eap") == "is broken"
    assert mixed.evaluate(code, EAP_PLUGIN_DISABLE="eap-plugin:algorithms") == "is broken"


def test_a_plugin_left_out_is_listed_as_disabled(mixed: Environment) -> None:
    plugins = mixed.json("plugins", EAP_PLUGIN_DISABLE="raises-on-import,toy_lm")["plugins"]
    assert {p["name"] for p in plugins if p["state"] == "disabled"} == {
        "raises-on-import:raises-on-import",
        "toy-lm:toy-lm",
    }


def test_strict_makes_a_failure_an_error(mixed: Environment) -> None:
    run = mixed.eap("plugins", EAP_PLUGIN_STRICT="1")
    assert run.returncode == 1
    assert run.stderr.startswith("Error: plugin ")
    assert run.stderr.count("\n") == 1
    assert any(named(name) in run.stderr for name in BROKEN)


def test_a_failure_in_a_provider_is_one_line(mixed: Environment) -> None:
    shown = mixed.eap("run", "ioi-llama", "--task", "ioi", "--prompts", "4", "--algorithm", "fails-midway")
    assert shown.returncode == 1
    whose = f"algorithm 'fails-midway' of plugin {named('fails-midway')}"
    assert f"(unexpected, in {whose}; set EAP_DEBUG=1" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_the_kit_fails_what_is_broken(mixed: Environment) -> None:
    run = mixed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--eap-algorithm", "gives-nan")
    assert run.returncode == 1
    assert "returned scores that are not finite" in run.stdout

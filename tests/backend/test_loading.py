"""Names of models that are not here: one line at once, whether or not the hub answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from eap_plugin.backend.loading import model_path
from eap_plugin.errors import EapPluginError, UsageError


def hub(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[tuple[str, Any]]:
    """Replace the hub by one that gives this answer; return the list of what it is asked for."""
    asked: list[tuple[str, Any]] = []

    def model_info(name: str, *, revision: str | None, timeout: float) -> None:
        asked.append((name, revision))
        if error is not None:
            raise error

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))
    return asked


def test_a_model_on_the_hub_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, None)
    assert model_path("somebody/some-model", "main") == "somebody/some-model"
    assert asked == [("somebody/some-model", "main")]


def test_without_a_connection_it_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, ConnectionError("no route to host"))
    with pytest.raises(EapPluginError, match=r"hub cannot be reached \(no route to host\); the shipped models are"):
        model_path("somebody/ioi")
    assert len(asked) == 1


def test_a_misspelt_name_of_a_shipped_model_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, ConnectionError())
    with pytest.raises(UsageError, match=r"there is no model 'ioi-lama'; did you mean 'ioi-llama'\?"):
        model_path("ioi-lama")
    with pytest.raises(UsageError, match=r"there is no model 'ioi'; did you mean 'ioi-gpt2' or 'ioi-llama'\?"):
        model_path("ioi")
    assert not asked


def test_folders_and_cached_models_are_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub(monkeypatch, ConnectionError("no route"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub" / "models--somebody--large-model").mkdir(parents=True)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    with pytest.raises(EapPluginError, match=r"did you mean 'somebody/large-model'\?"):
        model_path("somebody/large-modle")
    with pytest.raises(EapPluginError, match=r"did you mean 'my-model'\?"):
        model_path("my-modell")


@pytest.mark.parametrize("name", ["", "x" * 5000])
def test_what_can_be_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="a model is a shipped one, a folder or a name on the hub") as caught:
        model_path(name)
    assert len(str(caught.value)) < 200


def test_a_name_that_the_hub_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    response: Any = SimpleNamespace(headers={}, request=None, status_code=404)
    hub(monkeypatch, RepositoryNotFoundError("404 Client Error.\nRepository Not Found", response=response))
    with pytest.raises(UsageError, match="'nonesuch': 404 Client Error; the shipped models are ioi-gpt2, ioi-llama"):
        model_path("nonesuch")


def test_shipped_models_need_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, ConnectionError())
    assert model_path("ioi-gpt2").endswith("ioi-gpt2")
    assert asked == []

"""Models with weights on disk: the same scores, and weights that are loaded when needed and not kept."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import eap_plugin
from eap_plugin import Batch, UsageError
from eap_plugin.api.models import best_device
from eap_plugin.backend import offloading
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.shipped import SHIPPED
from tests.support.zoo import build, prompts

BATCH = Batch(*prompts(5, 6))
BLOCKS = {"llama": "model.layers", "gpt2": "transformer.h", "gemma2": "model.layers"}
BACKENDS = ("transformer_lens", "nnsight")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save a small model of each family, with some tokenizer."""
    saved = {name: tmp_path_factory.mktemp(name) for name in BLOCKS}
    for name, folder in saved.items():
        build(name).save_pretrained(folder)
        for file in SHIPPED["ioi-llama"].glob("*token*"):
            shutil.copy(file, folder)
    return saved


def device_map(name: str, on_disk: bool = True) -> dict[str, str]:
    """Return a map with every second block on disk, or with everything on the CPU."""
    model, path = build(name), BLOCKS[name]
    base, _, blocks = path.partition(".")
    parts = {f"{base}.{part}" for part, _ in model.get_submodule(base).named_children() if part != blocks}
    layers = [f"{path}.{layer}" for layer in range(len(model.get_submodule(path)))]
    return dict.fromkeys([*parts, "lm_head", *layers], "cpu") | (dict.fromkeys(layers[1::2], "disk") if on_disk else {})


def is_spread(model: ResidualModel) -> bool:
    return any(p.is_meta for module in model.modules() for p in nn.Module.parameters(module))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("how", [{}, {"algorithm": "exact", "level": "node"}], ids=["eap", "exact"])
def test_scores_are_those_of_the_model_in_memory(
    how: dict[str, Any], name: str, backend: str, folders: dict[str, Path]
) -> None:
    where = str(folders[name])
    whole = eap_plugin.load_model(where, backend=backend)
    model = eap_plugin.load_model(where, backend=backend, device_map=device_map(name))
    assert is_spread(model) and not is_spread(whole)
    expected = eap_plugin.prune_scores(whole, BATCH, **how)
    scores = eap_plugin.prune_scores(model, BATCH, **how)
    assert expected.matrix.any()
    torch.testing.assert_close(scores.matrix, expected.matrix, rtol=1e-6, atol=1e-7)
    assert is_spread(model)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autograd_keeps_no_weights(backend: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = eap_plugin.load_model(str(folders["llama"]), backend=backend, device_map=device_map("llama"))
    loads: Counter[str] = Counter()
    load = offloading._Stored.load

    def counting(stored: offloading._Stored) -> torch.Tensor:
        loads[f"{id(stored.module)}.{stored.name}"] += 1
        return load(stored)

    monkeypatch.setattr(offloading._Stored, "load", counting)
    eap_plugin.prune_scores(model, BATCH)
    blocks = len(device_map("llama").values()) - sum(where == "cpu" for where in device_map("llama").values())
    # Norms apart, a block has q, k, v, o, gate, up and down, and each is needed once in the backward pass.
    linear = [name for name, count in loads.items() if name.endswith("weight") and count == 1]
    assert len(linear) >= 7 * blocks


def test_flags_are_restored(folders: dict[str, Path]) -> None:
    model = eap_plugin.load_model(str(folders["llama"]), device_map=device_map("llama"))
    (root, *_) = model.modules()
    root.train()
    for module in nn.Module.modules(root):
        module.requires_grad_(True)
    eap_plugin.prune_scores(model, BATCH)
    assert root.training
    assert all(p.requires_grad for module in model.modules() for p in nn.Module.parameters(module))


def test_layers_are_read_one_at_a_time() -> None:
    read: list[int] = []
    layers = offloading.LayersOnDemand(3, lambda index: (read.append(index), index)[1])  # type: ignore[arg-type,return-value]
    assert [layers[0], layers[0], layers[-1], layers[2], *layers[:2]] == [0, 0, 2, 2, 0, 1]
    assert read == [0, 2, 0, 1]
    with pytest.raises(IndexError):
        layers[3]


def test_a_map_that_keeps_all_in_memory(folders: dict[str, Path]) -> None:
    model = eap_plugin.load_model(str(folders["llama"]), device_map=device_map("llama", on_disk=False))
    assert not is_spread(model)
    assert eap_plugin.prune_scores(model, BATCH) == eap_plugin.prune_scores(
        eap_plugin.load_model(str(folders["llama"])), BATCH
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"device": "cuda:0"}, "device_map decides the devices; leave device= out"),
        ({"backend": "nnsight", "remote": "local"}, "the server decides where a model is"),
        ({"backend": "nnsight", "device_map": {"": "disk"}}, "the embedding cannot be offloaded"),
    ],
)
def test_what_does_not_go_together(how: dict[str, Any], said: str, folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=said):
        eap_plugin.load_model(str(folders["llama"]), **({"device_map": "auto"} | how))


def test_automatic_device_and_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_device("cuda:3") == "cuda:3"
    build("llama", torch.bfloat16).save_pretrained(tmp_path)
    for file in SHIPPED["ioi-llama"].glob("*token*"):
        shutil.copy(file, tmp_path)
    for backend in BACKENDS:
        model = eap_plugin.load_model(str(tmp_path), backend=backend, device="auto", dtype="auto")
        assert model.dtype == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert best_device("auto") == "cuda:1"

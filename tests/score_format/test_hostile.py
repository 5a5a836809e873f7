"""Damaged and hostile files: one line that names the file, at once and without much memory."""

from __future__ import annotations

import json
import pickle
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import eap_plugin
from eap_plugin.api.files import load
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.graph import Graph
from tests.score_format.made import made
from tests.score_format.test_round_trip import SUFFIXES

HUGE = 10**12
SECONDS, BYTES = 2.0, 500 * 2**20
WRITTEN = {
    **{(name, "edge"): suffix for name, suffix in SUFFIXES.items() if name != "circuit"},
    ("circuit", "neurons"): ".json",
    ("eap-ig-json", "circuit"): ".json",
    ("eap-ig-pt", "neurons"): ".pt",
    ("autocircuit", "edge"): ".pt",
}


def refused(path: Path, match: str = "") -> None:
    """Check that the file is refused in one line that names it, quickly and within memory."""
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(EapPluginError, match=match) as caught:
        load(path)
    assert time.perf_counter() - began < SECONDS
    assert tracemalloc.get_traced_memory()[1] < BYTES
    tracemalloc.stop()
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], bytes]:
    """Return what each format writes."""
    folder, out = tmp_path_factory.mktemp("originals"), {}
    for (name, kind), suffix in WRITTEN.items():
        path = folder / f"{name}{suffix}"
        eap_plugin.score_formats()[name].write(made(Graph(2, 2, 1), kind), path)
        out[name, kind] = path.read_bytes()
    return out


def mutated(data: bytes, draw: Any) -> bytes:
    """Damage a file in one of several ways."""
    at = draw(st.integers(0, len(data) - 1))
    piece = draw(
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from(
                [b"NaN", b"Infinity", b"-1", b"1e999", b"null", b'"\\ud800"', b"[]", b"{}", b"true", b"0.5"]
            ),
            st.just(str(HUGE).encode()),
            st.just(b"9" * 5000),
            st.just(b"[" * 20_000),
        )
    )
    cut = draw(st.integers(0, 8))
    return draw(st.sampled_from([data[:at], data[:at] + piece + data[at + cut :], data[:at] + data[at:] * 2]))


@pytest.mark.parametrize(("name", "kind"), WRITTEN)
@settings(max_examples=25)
@given(draw=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(
    name: str, kind: str, draw: Any, originals: dict[tuple[str, str], bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"x{WRITTEN[name, kind]}"
    path.write_bytes(mutated(originals[name, kind], draw.draw))
    began, error = time.perf_counter(), None
    try:
        load(path, name)
    except EapPluginError as raised:
        error = raised
    assert time.perf_counter() - began < SECONDS
    if error is not None:
        assert error.exit_code == 2
        assert str(path) in str(error)
        assert "\n" not in str(error)
        str(error).encode()  # no lone surrogates


@pytest.mark.parametrize("name", ["neuronpedia", "circuit", "csv", "parquet", "graphml", "dot", "safetensors"])
def test_a_header_with_huge_sizes(name: str, tmp_path: Path, originals: dict[tuple[str, str], bytes]) -> None:
    """A graph is built only if there are as many scores, or its matrix is of a reasonable size."""
    kind = "neurons" if name == "circuit" else "edge"
    path = tmp_path / f"x{WRITTEN[name, kind]}"
    data = originals[name, kind]
    if name == "safetensors":
        graph = {"n_layers": HUGE, "n_heads": 2, "n_kv_heads": 2}
        header = {"schema": 1, "graph": graph, "metadata": {}, "level": "edge"}
        save_file({"matrix": torch.zeros(3, 3)}, path, {"eap_plugin": json.dumps(header)})
    elif name == "parquet":
        import pyarrow
        import pyarrow.parquet

        path.write_bytes(data)
        table = pyarrow.parquet.read_table(path)
        header = table.schema.metadata[b"eap_plugin"].replace(b'"n_layers": 2', f'"n_layers": {HUGE}'.encode())
        pyarrow.parquet.write_table(table.replace_schema_metadata({"eap_plugin": header}), path)
    else:
        changed = data
        for quote in (b'"', b"&quot;"):
            key = quote + b"n_layers" + quote
            changed = changed.replace(key + b": 2", key + b": %d" % HUGE)
        assert changed != data
        path.write_bytes(changed)
    refused(path, "writers")


@pytest.mark.parametrize("layers", [HUGE, 10**6, 3, -1, True, "2", 10**400])
def test_eap_ig_with_other_sizes(layers: Any, tmp_path: Path, originals: dict[tuple[str, str], bytes]) -> None:
    text = originals["eap-ig-json", "circuit"].decode()
    document = json.loads(text)
    document["cfg"]["n_layers"] = layers
    (tmp_path / "x.json").write_text(json.dumps(document))
    refused(tmp_path / "x.json", "layers")
    (tmp_path / "x.pt").write_bytes(originals["eap-ig-pt", "neurons"])
    tensors = torch.load(tmp_path / "x.pt", weights_only=True)
    tensors["cfg"]["n_layers"] = layers
    torch.save(tensors, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "layers")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_pickles_with_code_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    for content in ({"edges_in_graph": Evil()}, {"blocks.0.hook_resid_post": Evil()}):
        torch.save(content, path)
        refused(path, "could run code")
    path.write_bytes(pickle.dumps({"edges_in_graph": Evil()}))
    refused(path, "no score format recognizes")
    assert not (tmp_path / "touched").exists()


def test_tensors_that_are_larger_than_their_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"cfg": {}, "edges_in_graph": torch.zeros(1, dtype=torch.bool).expand(10**6, 10**6)}, path)
    refused(path, "more than the file has numbers for")
    stored = zipfile.ZipFile(path)
    packed = tmp_path / "y.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name) + b"\0" * 10**7)
    refused(packed, "compressed or claims more data")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.json", '{"cfg": {"n_layers": ' + "[" * 100_000, "nested too deeply"),
        ("x.json", '{"cfg": {"n_layers": ' + "9" * 5000 + "}}", "not JSON|integer"),
        ("x.json", '{"cfg": {"n_layers": 1, "n_heads": 1', "line 1"),
        ("x.json", '{"cfg": {}, "nodes": [], "edges": {}}', "nodes must be an object"),
        ("x.json", '["\\ud800"]', "no score format recognizes"),
        ("x.json", '{"eap_plugin": {"schema": 1, "kind": "circuit"}, "graph": {"\\ud800": 1}}', "cannot have"),
        ("x.json", '{"metadata": {}, "qParams": {}, "nodes": [], "links": []}', "features of transcoders"),
        ("x.csv", "edge,score\ninput->logits,NaN\n", "cannot be told"),
        ("x.csv", "edge,score\n<script>alert(1)</script>,1\n", "'<script>alert"),
        ("x.csv", "edge,score\nm0->logits,one\n", "line 2: the score must be a number, got 'one'"),
        ("x.csv", "edge,score\nm0->logits\n", "line 2: the row is too short"),
        ("x.csv", 'edge,score\n"m0->logits,1\n', "not CSV"),
        ("x.csv", "a,b\n", "columns edge"),
        ("x.csv", "# eap_plugin {\nedge,score\n", "the header: not JSON"),
        ("x.dot", "digraph { a -> b }", "line 1"),
        ("x.graphml", "<graphml", "not XML"),
        ("x.graphml", '<!DOCTYPE x [<!ENTITY a "aaaa">]><graphml>&a;</graphml>', "document type"),
        ("x.parquet", "PAR1", "not a Parquet file"),
        ("x.pt", "PK", "no score format recognizes"),
        ("x.safetensors", "x", "not a complete score file"),
        ("x.unknown", "", "no score format recognizes"),
    ],
)
def test_one_line_with_the_place(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, says)


def test_scores_that_are_not_numbers(tmp_path: Path) -> None:
    matrix = torch.zeros(4, 6)
    matrix[1, 2] = torch.nan
    header = {"schema": 1, "graph": {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1}, "metadata": {}, "level": "edge"}
    path = tmp_path / "x.safetensors"
    for content, says in ((matrix, r"at \[1, 2\] is nan"), (torch.zeros(4, 6, dtype=torch.int64), "torch.int64")):
        save_file({"matrix": content}, path, {"eap_plugin": json.dumps(header)})
        refused(path, says)
    header["level"] = "feature"
    save_file({"matrix": torch.zeros(4, 6)}, path, {"eap_plugin": json.dumps(header)})
    refused(path, "not of 'feature'")


def test_another_graph(tmp_path: Path, originals: dict[tuple[str, str], bytes]) -> None:
    for (name, kind), data in originals.items():
        path = tmp_path / f"{name}{WRITTEN[name, kind]}"
        path.write_bytes(data)
        with pytest.raises(UsageError, match="another graph"):
            load(path, graph=Graph(2, 3, 1))


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "there is no file")

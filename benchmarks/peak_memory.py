"""How much memory one contender takes on top of its model: python peak_memory.py NAME PROMPTS TOKENS

Prints MiB. Run as a process of its own: the model is loaded and warmed on a tiny input, what the allocator holds in
reserve is given back, the kernel's high-water mark is reset, and after one run on the real input the mark is compared
with the resident size before it. Needs Linux with glibc.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import torch
from contenders import CONTENDERS, make_batch


def resident(field: str) -> float:
    """``VmRSS``, what the process holds now, or ``VmHWM``, the most since the mark was reset, in MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def growth(name: str, n_prompts: int, n_tokens: int) -> float:
    """The peak over what was there before, in MiB."""
    contender = CONTENDERS[name]
    contender(make_batch(1, 4))
    batch = make_batch(n_prompts, n_tokens)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    contender(batch)
    return resident("VmHWM") - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(growth(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

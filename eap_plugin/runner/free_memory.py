"""The memory that a run can still use: on an accelerator, or in this process's container.

Reads the kernel's files only, since it runs on servers, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

_ROOT = Path("/")
_UNLIMITED = 2**60
"""What cgroup v1 reports if there is no limit is larger than this."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device; for the CPU, in this process's control groups and on the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return min(_machine(_ROOT), *_control_groups(_ROOT))


def _machine(root: Path) -> int:
    """Return the bytes that the machine can hand out; where it does not say, half of what it has."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _control_groups(root: Path) -> Iterator[int]:
    """Yield the bytes that are left under each memory limit of this process's control groups, of version 1 and 2.

    Inside a container, the path that the kernel reports may not exist, and the container's own group is at the top.
    """
    yield _UNLIMITED
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _limits(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _limits(root / "sys/fs/cgroup/memory", path, *names)


def _limits(top: Path, path: str, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """Yield what is left in a group and in each group that contains it; cached files count as free."""
    group = top / path.lstrip("/")
    for folder in (group, *group.parents):
        most, used = _read(folder / limit).strip(), _read(folder / usage).strip()
        if most.isdigit() and used.isdigit() and int(most) < _UNLIMITED:
            stats = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
            yield max(0, int(most) - int(used) + int(stats.get(reclaimable, 0)))
        if folder == top:
            return


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

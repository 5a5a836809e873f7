"""A user's choice of how many prompt pairs to run at once, and of how much memory they may take."""

from __future__ import annotations

import re
from typing import Literal

from eap_plugin.errors import UsageError
from eap_plugin.model.run_constraints import RunConstraints
from eap_plugin.runner.batch_size import FittingSize

BatchSize = int | Literal["auto"] | None

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def resolve_batch_size(
    batch_size: BatchSize, max_memory: int | str | None, constraints: RunConstraints
) -> int | FittingSize | None:
    """Return the number of prompt pairs to run at a time, or that as many as fit are to be run.

    Raises:
        UsageError: if an argument is wrong, both are given, or the model must run whole batches.
    """
    limit = None if max_memory is None else parse_bytes(max_memory)
    if batch_size == "auto":
        return None if constraints.whole_batches else FittingSize(limit)
    if not isinstance(batch_size, int | None):
        raise UsageError(f'batch_size must be a number of prompt pairs, "auto" or None, got {batch_size!r}')
    if limit is not None:
        raise UsageError("max_memory chooses the batch size, so give one of them only; leave batch_size out")
    constraints.check_batch_size(batch_size)
    return batch_size


def parse_bytes(size: int | str) -> int:
    """Return a number of bytes, given as such or as text like ``4GB``, ``500 MiB`` or ``1e9``.

    Raises:
        UsageError: if it is not a positive size.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([KMGT]?)(i?)B?\s*", str(size), re.IGNORECASE)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if found is None or not number > 0:
        raise UsageError(f"a size of memory is a number of bytes, or text such as 4GB or 500MiB; got {size!r}")
    unit = found[2].upper()
    return int(number * (1024 ** " KMGT".index(unit) if found[3] and unit else _UNITS[unit]))

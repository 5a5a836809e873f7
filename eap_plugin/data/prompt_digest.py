"""A hash that identifies a set of prompts."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from eap_plugin.data.batch import Batch


def prompt_digest(batches: Iterable[Batch]) -> str:
    """Hash prompts and their answers; the hash does not depend on how they are split into batches."""
    digest = sha256()
    for batch in batches:
        columns = (batch.clean, batch.corrupt, batch.answers, batch.wrong_answers, batch.real.long())
        for row in zip(*(column.tolist() for column in columns), strict=True):
            digest.update(str(row).encode())
    return digest.hexdigest()

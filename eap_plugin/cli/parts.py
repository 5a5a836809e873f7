"""Where ``eap run`` keeps the finished parts of a run that is split, and what it says when the run is broken off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eap_plugin.cli.output import stderr
from eap_plugin.errors import UsageError


def parts_folder(output: Path | None, prompts_per_request: int | None, resume: bool) -> Path | None:
    """The folder of finished parts, beside the output; ``None`` if the run is not split.

    Raises:
        UsageError: if there is no output beside which to keep them, or nothing to resume by.
    """
    if prompts_per_request is None:
        if resume:
            raise UsageError("--resume goes on with a run that --prompts-per-request split; give that, too")
        return None
    if output is None:
        raise UsageError("--prompts-per-request keeps finished parts beside the scores; add -o scores.safetensors")
    return output.with_name(f"{output.name}.parts")


@contextmanager
def keeping(parts: Path | None) -> Iterator[None]:
    """Say what is left of a run that is broken off within it."""
    try:
        yield
    except BaseException:
        n_parts = len(list(parts.glob("*.safetensors"))) if parts is not None and parts.is_dir() else 0
        if n_parts:
            finished = "1 finished part is" if n_parts == 1 else f"{n_parts} finished parts are"
            stderr().print(f"{finished} kept in {parts}; the same command with --resume goes on", soft_wrap=True)
        raise

"""The folder in which ``eap run`` keeps finished parts of a split run, and the hint it prints if the run is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eap_plugin.cli.output import stderr
from eap_plugin.errors import UsageError


def parts_folder(output: Path | None, prompts_per_request: int | None, resume: bool) -> Path | None:
    """Return the folder of finished parts, next to the output; ``None`` if the run is not split.

    Raises:
        UsageError: if the run is split but has no output file, or is to be resumed but is not split.
    """
    if prompts_per_request is None:
        if resume:
            raise UsageError("--resume continues a run that --prompts-per-request split; add --prompts-per-request")
        return None
    if output is None:
        raise UsageError("--prompts-per-request saves finished parts next to the scores; add -o scores.safetensors")
    return output.with_name(f"{output.name}.parts")


@contextmanager
def keeping(parts: Path | None) -> Iterator[None]:
    """Print how many parts were kept if the run inside the context stops early."""
    try:
        yield
    except BaseException:
        n_parts = len(list(parts.glob("*.safetensors"))) if parts is not None and parts.is_dir() else 0
        if n_parts:
            finished = "1 finished part is" if n_parts == 1 else f"{n_parts} finished parts are"
            hint = "run the same command with --resume to continue"
            stderr().print(f"{finished} kept in {parts}; {hint}", soft_wrap=True)
        raise

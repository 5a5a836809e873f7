"""The finished parts of a split run, saved in a folder so that an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from eap_plugin.algorithm.base import Attribution, Level
from eap_plugin.errors import EapPluginError, UsageError, shown
from eap_plugin.results.loading import read_scores, scores_of
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

_MADE = ("clean_metric", "corrupt_metric")


class RequestCache:
    """The finished parts of one run.

    Args:
        folder: the folder; parts of other runs may be there, too.
        identity: everything that the scores depend on, as plain values; see ``run_identity``.
        n_parts: the number of parts of the run.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], n_parts: int) -> None:
        """Compute the name under which parts of this run are saved."""
        text = json.dumps(identity, default=str)
        self._folder, self._identity, self._n_parts = folder, json.loads(text), n_parts
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]

    def require_own(self) -> None:
        """Check that the folder has a part of this run, unless it has no parts at all.

        Raises:
            UsageError: if all parts are those of other runs; the message says in what they differ.
        """
        paths = sorted(self._folder.glob("*.safetensors"))
        if not paths or any(self._path(index).exists() for index in range(self._n_parts)):
            return
        found = next((part for part in map(_read, paths) if part is not None), None)
        saved = {} if found is None else found.metadata.get("run")
        differences = _differences(saved, self._identity) if isinstance(saved, Mapping) else []
        why = f"those here differ in: {', '.join(differences)}" if differences else "those here are of another run"
        raise UsageError(
            f"no finished part of this run in {self._folder}; {why}; to start afresh, leave out resume (--resume)"
        )

    def find(self, index: int) -> Attribution | None:
        """Return the saved scores of a part; ``None`` if there are none, or the file is damaged."""
        path = self._path(index)
        found = _read(path) if path.exists() else None
        if found is None:
            path.unlink(missing_ok=True)
            return None
        clean, corrupt = (found.metadata[name] for name in _MADE)
        return Attribution(found.graph, found.matrix, clean, corrupt, cast(Level, found.level), found.groups)

    def keep(self, index: int, found: Attribution) -> None:
        """Save the scores of a finished part, unless they are saved already."""
        if self._path(index).exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        about = {"clean_metric": found.clean_metric, "corrupt_metric": found.corrupt_metric, "run": self._identity}
        scores_of(found.level, found.graph, found.matrix, about, found.groups).save(self._path(index))

    def remove(self) -> None:
        """Delete the saved parts of this run, and the folder if it is then empty."""
        for index in range(self._n_parts):
            self._path(index).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, index: int) -> Path:
        return self._folder / f"{self._digest}-{index + 1}-of-{self._n_parts}.safetensors"


def _read(path: Path) -> PruneScores | NodeScores | None:
    """Read a part; return ``None`` if the file is damaged or has no metrics."""
    try:
        found = read_scores(path)
    except EapPluginError:
        return None
    metrics = [found.metadata.get(name, "") for name in _MADE]
    return found if all(isinstance(value, float | None) for value in metrics) else None


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two runs, such as ``seed (0, now 1)``; hashes and lists only if nothing else does."""
    before, after = dict(_leaves(saved)), dict(_leaves(now))
    names = [name for name in after | before if before.get(name) != after.get(name)]
    plain = [name for name in names if not (name.endswith(("digest", "code")) or isinstance(after.get(name), list))]
    return [
        f"{name.replace('_', ' ')} ({shown(before.get(name))}, now {shown(after.get(name))})" for name in plain
    ] or [name.replace("_", " ") for name in names]


def _leaves(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value

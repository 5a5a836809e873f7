"""Algorithms of this package inside AutoCircuit: its ``run_prune_algos``, metrics and plots use them by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import Tensor

from eap_plugin.api import algorithms, prune_scores
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.host.options import build_options
from eap_plugin.results.prune_scores import PruneScores


@dataclass(frozen=True, eq=False)
class PruneFunction:
    """A function as AutoCircuit calls its algorithms.

    Attributes:
        algorithm: the algorithm's name.
        arguments: further arguments of ``eap_plugin.prune_scores``: the metric, the batch size, options.
    """

    algorithm: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Any, dataloader: Any, official_edges: Any = None) -> dict[str, Tensor]:
        """Scores of each edge: like the model's patch masks in names, shapes, dtype and device.

        Args:
            model: a ``PatchableModel``.
            dataloader: a ``PromptDataLoader``.
            official_edges: not used.
        """
        scores = prune_scores(model, dataloader, algorithm=self.algorithm, **self.arguments)
        if not isinstance(scores, PruneScores):
            raise UsageError(f"AutoCircuit's scores are of edges, got {scores!r}; leave out the level")
        return {
            module: scores[module].to(mask.data, copy=True).contiguous() for module, mask in model.patch_masks.items()
        }


def prune_algo(algorithm: str, key: str | None = None, **arguments: Any) -> Any:
    """An algorithm as AutoCircuit's ``PruneAlgo``.

    Args:
        algorithm: see ``eap_plugin.algorithms()``.
        key: its key in AutoCircuit's tables; the algorithm's name if not given.
        **arguments: what ``eap_plugin.prune_scores`` is called with: the metric, the batch size, options.

    Raises:
        UsageError: if there is no such algorithm or option.
        EapPluginError: if AutoCircuit cannot be imported.
    """
    provider = algorithms()[algorithm]
    names = {"metric", "batch_size", "progress", "ablation_data"}
    build_options(provider.options, {name: x for name, x in arguments.items() if name not in names}, owner=algorithm)
    return _auto_circuit().PruneAlgo(
        key=key or algorithm,
        name=f"{key or algorithm} (eap-plugin)",
        func=PruneFunction(algorithm, arguments),
        _short_name=key or algorithm,
    )


def register() -> list[str]:
    """Add every algorithm that is found to AutoCircuit's ``PRUNE_ALGO_DICT``, keyed by its name.

    Once more does nothing.

    Returns:
        The keys of this package's algorithms that are now there.

    Raises:
        EapPluginError: if AutoCircuit cannot be imported, or has another algorithm of one of these names; nothing is
            added then.
    """
    table = _auto_circuit().PRUNE_ALGO_DICT
    names = list(algorithms())
    taken = [name for name in names if name in table and not _is_ours(table[name])]
    if taken:
        raise EapPluginError(
            f"AutoCircuit's PRUNE_ALGO_DICT has another {' and '.join(map(repr, taken))} already; "
            f"take it out, or add ours under a key of your own: prune_algo({taken[0]!r}, key=...)"
        )
    for name in names:
        table.setdefault(name, prune_algo(name))
    return names


def unregister() -> None:
    """Take out what ``register`` added, and whatever ``prune_algo`` made."""
    table = _auto_circuit().PRUNE_ALGO_DICT
    for key in [key for key, algo in table.items() if _is_ours(algo)]:
        del table[key]


def _is_ours(algo: Any) -> bool:
    return isinstance(algo.func, PruneFunction)


def _auto_circuit() -> Any:
    try:
        return import_module("auto_circuit.prune_algos.prune_algos")
    except ImportError as error:
        raise EapPluginError(
            f'AutoCircuit cannot be imported ({error}); pip install auto-circuit==1.0.1 "transformer-lens<4" attrs'
        ) from error

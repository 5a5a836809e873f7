"""Registration of this package's algorithms in AutoCircuit, for its ``run_prune_algos``, metrics and plots."""

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
    """An algorithm of this package as a function with the signature of AutoCircuit's algorithms.

    Attributes:
        algorithm: the algorithm's name.
        arguments: further arguments of ``eap_plugin.prune_scores``, such as the metric, the batch size and options.
    """

    algorithm: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Any, dataloader: Any, official_edges: Any = None) -> dict[str, Tensor]:
        """Return the scores of all edges, with the names, shapes, dtype and device of the model's patch masks.

        Args:
            model: a ``PatchableModel``.
            dataloader: a ``PromptDataLoader``.
            official_edges: not used.
        """
        scores = prune_scores(model, dataloader, algorithm=self.algorithm, **self.arguments)
        if not isinstance(scores, PruneScores):
            raise UsageError(f"AutoCircuit takes scores of edges, got {scores!r}; leave out the option level")
        return {
            module: scores[module].to(mask.data, copy=True).contiguous() for module, mask in model.patch_masks.items()
        }


def prune_algo(algorithm: str, key: str | None = None, **arguments: Any) -> Any:
    """Make an AutoCircuit ``PruneAlgo`` from an algorithm of this package.

    Args:
        algorithm: the name of the algorithm; see ``eap_plugin.algorithms()``.
        key: its key in AutoCircuit's tables; by default the algorithm's name.
        **arguments: arguments of ``eap_plugin.prune_scores``, such as the metric, the batch size and options.

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
    """Add every registered algorithm to AutoCircuit's ``PRUNE_ALGO_DICT``, with its name as the key.

    Calling it again does nothing.

    Returns:
        The keys of this package's algorithms in the table.

    Raises:
        EapPluginError: if AutoCircuit cannot be imported, or its table has another algorithm under one of these names;
            nothing is added then.
    """
    table = _auto_circuit().PRUNE_ALGO_DICT
    names = list(algorithms())
    taken = [name for name in names if name in table and not _is_ours(table[name])]
    if taken:
        raise EapPluginError(
            f"AutoCircuit's PRUNE_ALGO_DICT has another {' and '.join(map(repr, taken))} already; "
            f"remove it, or add ours under another key: prune_algo({taken[0]!r}, key=...)"
        )
    for name in names:
        table.setdefault(name, prune_algo(name))
    return names


def unregister() -> None:
    """Remove every algorithm of this package from AutoCircuit's table, whether or not ``register`` added it."""
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

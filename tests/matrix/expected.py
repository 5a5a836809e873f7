"""What the oracle says of a case: every score that the library is to give, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tests.matrix.data import MASKS, PROMPTS
from tests.matrix.layouts import Scores, laid_out, of_edges
from tests.matrix.metrics import metric
from tests.oracle import changed_backward, circuits, methods
from tests.oracle.atp_star import atp_star_edges, atp_star_nodes
from tests.oracle.baselines import magnitudes, routes
from tests.oracle.brute_force import Edge
from tests.oracle.masks import mask_gradient
from tests.oracle.methods import Oracle
from tests.support.zoo import build

Options = Mapping[str, Any]


def expected(name: str, algorithm: str, options: Options, padding: str, found: Scores) -> Scores:
    """Compute the scores of one case by the oracle, laid out as its options ask.

    Args:
        name: the model's name in ``tests.support.zoo``.
        algorithm: its name in the library; none of those that draw random numbers.
        options: as the library takes them.
        padding: on which side.
        found: the library's scores, which a search may start from but does not depend on.
    """
    about = (name, PROMPTS, options.get("ablation", "corrupt"))
    given = {"mask": MASKS[padding], "metric": metric(options)}
    if algorithm in CHANGED:
        model = build(name, torch.float64)  # one of its own, as it stays changed
        with CHANGED[algorithm](model, name, options):
            judge = Oracle(model, *about, **given)
            return laid_out(judge.scores(judge.gradients()), options)
    judge = Oracle(plain(name), *about, **given)
    if algorithm in PRODUCTS:
        return laid_out(PRODUCTS[algorithm](judge, options), options)
    if algorithm == "acdc":
        return _acdc(judge, options, found)
    return OTHERS[algorithm](judge, options)


@lru_cache(maxsize=2)
def plain(name: str) -> Any:
    """Make the zoo's model ``name`` in float64, shared by everything that leaves it unchanged."""
    return build(name, torch.float64)


def _gim(model: Any, name: str, options: Options) -> AbstractContextManager[None]:
    rules = ("temperature", "freeze_norms", "halve_products")
    return changed_backward.gim(model, name, **{rule: options[rule] for rule in rules if rule in options})


def _relp(model: Any, name: str, options: Options) -> AbstractContextManager[None]:
    return changed_backward.relp(model, name, constant_attention="attention" in options)


CHANGED: dict[str, Callable[[Any, str, Options], AbstractContextManager[None]]] = {"gim": _gim, "relp": _relp}
"""Algorithms that are EAP on a model with another backward pass."""


def _ig_inputs(oracle: Oracle, options: Options) -> dict[Edge, Tensor]:
    steps, offset = options["steps"], 0.5 if "rule" in options else 0.0
    return methods.eap_ig_inputs(oracle, [1 - (step + offset) / steps for step in range(steps)])


def _ig_activations(oracle: Oracle, options: Options) -> dict[Edge, Tensor]:
    steps, offset = options["steps"], 0.5 if "rule" in options else 1.0
    method = methods.eap_ig_activations_of_all if "scored" in options else methods.eap_ig_activations
    return method(oracle, [1 - (step + offset) / steps for step in range(steps)])


def _mask_gradient(oracle: Oracle, options: Options) -> dict[Edge, Tensor]:
    samples = options.get("samples")
    masks = [i / samples for i in range(samples + 1)] if samples else [options.get("mask", 0.0)]
    return mask_gradient(oracle, *masks)


PRODUCTS: dict[str, Callable[[Oracle, Options], dict[Edge, Tensor]]] = {
    "eap": lambda oracle, options: oracle.scores(oracle.gradients()),
    "clean-corrupted": lambda oracle, options: methods.clean_corrupted(oracle),
    "eap-ig-inputs": _ig_inputs,
    "eap-ig-activations": _ig_activations,
    "eap-gp": lambda oracle, options: methods.eap_gp(oracle, options["steps"], options.get("length", 1.0)),
    "mask-gradient": _mask_gradient,
}
"""Algorithms that multiply what writers change by gradients at readers."""


def _atp_star(oracle: Oracle, options: Options) -> Scores:
    drop, positions = options.get("grad_drop", True), options.get("positions", False)
    method = atp_star_nodes if options.get("level") == "node" else atp_star_edges
    scores = method(oracle, drop=drop, positions=positions)
    return of_edges(scores if positions else {key: score.sum() for key, score in scores.items()}, options)


def _exact(oracle: Oracle, options: Options) -> Scores:
    return circuits.writer_effects(oracle) if options.get("level") == "node" else circuits.edge_effects(oracle)


def _acdc(oracle: Oracle, options: Options, found: Scores) -> Scores:
    highest = options.get("highest", 1.0)
    gone = circuits.removed(oracle, highest, [edge for edge, score in found.items() if score < 1.5 * highest])
    return {edge: torch.tensor(highest if edge in gone else 2 * highest) for edge in _edges(oracle)}


def _edges(oracle: Oracle) -> list[Edge]:
    return [(writer, reader.name) for reader in oracle.readers for writer in oracle.run.feeding[reader.stream]]


def _routes(oracle: Oracle, options: Options) -> Scores:
    shares = routes(oracle)
    return shares if "positions" in options else {edge: share.sum() for edge, share in shares.items()}


def _magnitudes(oracle: Oracle, options: Options) -> Scores:
    sizes = magnitudes(oracle, absolute="average" in options)
    if options.get("level") == "node":
        return sizes
    return {edge: sizes[edge[0]] for edge in _edges(oracle)}


OTHERS: dict[str, Callable[[Oracle, Options], Scores]] = {
    "atp-star": _atp_star,
    "exact": _exact,
    "information-flow-routes": _routes,
    "activation-magnitude": _magnitudes,
}

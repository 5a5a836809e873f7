"""What is varied: for every algorithm the options that change what is computed, and for all of them the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Choices = Sequence[Mapping[str, Any]]
"""The values of a factor: options that are given together."""

LEVELS: Choices = ({}, {"qkv": "summed"}, {"level": "node"}, {"level": "neuron"})
ABLATIONS: Choices = ({}, {"ablation": "zero"}, {"ablation": "mean"}, {"ablation": "mean-per-position"})
RULES: Choices = ({}, {"rule": "midpoint"})
GRADIENT: Mapping[str, Choices] = {
    "level": LEVELS,
    "ablation": ABLATIONS,
    "answers": ({}, {"answer_diff": False}),
    "positions": ({}, {"positions": True}),
}
JUDGES: Choices = (
    *GRADIENT["answers"],
    *(
        {"grad_function": values, "answer_function": answers, **right_alone}
        for values in ("logit", "prob", "logprob", "logit_exp")
        for answers in ("avg_diff", "avg_val", "mse")
        for right_alone in GRADIENT["answers"][: 2 if answers == "avg_diff" else 1]
    ),
)
"""What ``mask-gradient`` takes gradients of; wrong answers can be left out where they would be counted."""

ALGORITHMS: Mapping[str, Mapping[str, Choices]] = {
    "eap": GRADIENT,
    "clean-corrupted": GRADIENT,
    "eap-ig-inputs": {**GRADIENT, "steps": ({"steps": 1}, {"steps": 3}), "rule": RULES},
    "eap-ig-activations": {
        **GRADIENT,
        "steps": ({"steps": 1}, {"steps": 2}),
        "rule": RULES,
        "scored": ({}, {"scored": "all"}),
    },
    "eap-gp": {**GRADIENT, "steps": ({"steps": 1}, {"steps": 3}), "length": ({}, {"length": 0.3})},
    "mask-gradient": {**GRADIENT, "answers": JUDGES, "mask": ({}, {"mask": 0.4}, {"mask": 1.0}, {"samples": 2})},
    "gim": {
        **GRADIENT,
        "temperature": ({}, {"temperature": 1.0}),
        "norms": ({}, {"freeze_norms": False}),
        "products": ({}, {"halve_products": False}),
    },
    "relp": {**GRADIENT, "attention": ({}, {"attention": "constant"})},
    "atp-star": {**GRADIENT, "level": LEVELS[:3], "drop": ({}, {"grad_drop": False})},
    "exact": {"level": ({}, {"level": "node"}), "ablation": ABLATIONS, "pass": ({}, {"edges_per_pass": 5})},
    "acdc": {"ablation": ABLATIONS, "thresholds": ({"thresholds": 1, "highest": 0.05}, {"thresholds": 1})},
    "edge-pruning": {
        "ablation": ABLATIONS,
        "gates": (
            {"steps": 3, "warmup": 1},
            {"steps": 3, "sparsity": None, "penalty": 0.3, "learning_rate": 0.2},
            {"steps": 6, "warmup": 0, "patience": 1, "seed": 1},
        ),
    },
    "information-flow-routes": {"positions": ({}, {"positions": True})},
    "activation-magnitude": {"level": ({}, {"level": "node"}), "average": ({}, {"average": "absolute"})},
    "random": {"seed": ({}, {"seed": 1})},
}

THE_SAME_NUMBERS: Mapping[str, str] = {
    "dtype": "rounding alone",
    "checkpoint": "where to keep a training",
    "checkpoint_every": "how often to keep it",
    "start": "scores to start from, which tests/algorithm/edge_pruning/test_start.py varies",
    "lowest": "of several thresholds, of which each is a search of its own",
}
"""Options that are not varied, and why."""

DATA: Mapping[str, Sequence[Any]] = {"padding": ("none", "left", "right"), "batch_size": (None, 2)}

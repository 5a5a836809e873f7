"""Training of hard concrete gates by Adam, with its whole state as a few tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import UsageError
from eap_plugin.hard_concrete import START, gates, open_probability
from eap_plugin.host.options import option

MOMENTA, TINY = (0.9, 0.999), 1e-8
"""Adam's usual numbers."""

_APART = 1_000_003
"""From one seed's random numbers to the next one's, in steps; a generator takes 32 bits."""


@dataclass(frozen=True)
class GateOptions:
    """What can be chosen about the training."""

    steps: int = option(300, help="how often to change the gates", unit="steps", minimum=1)
    learning_rate: float = option(0.1, help="of Adam, on log alpha and on the raised penalty", minimum=0)
    sparsity: float | None = option(
        0.9,
        help="the share of gates to shut, by raising the penalty until they are; none: as many as the penalty shuts",
        minimum=0,
        maximum=1,
    )
    warmup: int = option(100, help="over how many steps to raise that share from 0", unit="steps", minimum=0)
    penalty: float = option(1.0, help="what all gates open cost, at first", unit="of the metric", minimum=0)
    patience: int | None = option(
        None,
        help="after the warm-up, stop when the mean loss over so many steps is no lower than over as many before",
        unit="steps",
        minimum=1,
    )
    seed: int = option(0, help="seed of the random numbers", minimum=0, maximum=2**31 - 1)

    def without_effect(self) -> dict[str, str]:
        """See ``eap_plugin.host.options``."""
        if self.patience is None:
            return {"warmup": "sparsity and patience are none"} if self.sparsity is None else {}
        never = self.warmup + 2 * self.patience >= self.steps
        return {"patience": "warmup and twice patience are all of the steps"} if never else {}


class GateTraining:
    """Gates that minimize a loss and how many of them are open.

    The penalty λ times the expected share of open gates is added to the loss. With a target share t of shut gates, of
    which s are expected to be shut, it is λ max(0, t − s), and λ is trained to maximize it: nothing is shut beyond t.

    Attributes:
        losses: the loss at each step so far.
    """

    losses: list[float]

    def __init__(self, n_gates: int, options: GateOptions) -> None:
        """Start with gates open and the penalty as given."""
        self._options = options
        self._values = torch.full((n_gates + 1,), START, dtype=torch.float64)  # log alpha of each gate, and λ
        self._values[-1] = options.penalty
        self._mean, self._square = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self._slope = self._values[:-1]
        self.losses = []

    @property
    def n_steps(self) -> int:
        """How many steps it has made."""
        return len(self.losses)

    @property
    def open_probability(self) -> Float[Tensor, "gates"]:
        """How probable it is that each gate is open."""
        return open_probability(self._values[:-1])

    @property
    def finished(self) -> bool:
        """Whether it has made all of its steps, or the loss no longer falls as far as patience goes."""
        patience = self._options.patience
        if self.n_steps >= self._options.steps:
            return True
        if patience is None or self.n_steps < self._options.warmup + 2 * patience:
            return False
        return sum(self.losses[-patience:]) >= sum(self.losses[-2 * patience : -patience])

    def draw(self) -> Float[Tensor, "gates"]:
        """Gates for the next step; the same for the same seed and step."""
        generator = torch.Generator().manual_seed((self._options.seed * _APART + self.n_steps) % 2**32)
        uniform = torch.rand(len(self._values) - 1, dtype=torch.float64, generator=generator)
        drawn, self._slope = gates(self._values[:-1], uniform)
        return drawn

    def step(self, loss: float, gradient: Float[Tensor, "gates"]) -> None:
        """Change log alpha and the penalty, given the loss of what was drawn and its gradient at the gates."""
        probability = self.open_probability
        is_open, penalty, rise = float(probability.mean()), float(self._values[-1]), 0.0
        if self._options.sparsity is None:
            loss += penalty * is_open
        else:
            rise = max(0.0, self._target(self._options.sparsity) - (1 - is_open))
            penalty *= rise > 0
        descent = torch.empty_like(self._values)
        descent[:-1] = gradient * self._slope + penalty * probability * (1 - probability) / len(probability)
        descent[-1] = -rise
        self.losses.append(loss)
        self._adam(descent)

    def _target(self, sparsity: float) -> float:
        return sparsity * min(1.0, (self.n_steps + 1) / max(1, self._options.warmup))

    def _adam(self, gradient: Tensor) -> None:
        first, second = MOMENTA
        self._mean.mul_(first).add_(gradient, alpha=1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        mean = self._mean / (1 - first**self.n_steps)
        square = self._square / (1 - second**self.n_steps)
        self._values -= self._options.learning_rate * mean / (square.sqrt() + TINY)

    def state(self) -> dict[str, Tensor]:
        """All that a step depends on."""
        losses = torch.tensor(self.losses, dtype=torch.float64)
        return {"values": self._values, "mean": self._mean, "square": self._square, "losses": losses}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from where another training was.

        Raises:
            UsageError: if that has made more steps than this one is to make.
        """
        self._values, self._mean, self._square = state["values"], state["mean"], state["square"]
        self.losses = state["losses"].tolist()
        if self.n_steps > self._options.steps:
            raise UsageError(f"the checkpoint has {self.n_steps} steps; give at least as many, or another file")

"""Training of hard concrete gates with Adam.

Adam is implemented here, so that the whole state of the training is a few tensors, which a checkpoint can store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.edge_pruning.hard_concrete import START, gates, open_probability
from eap_plugin.data.ranks import mean_ranks
from eap_plugin.errors import UsageError
from eap_plugin.host.options import option

MOMENTA, TINY = (0.9, 0.999), 1e-8
"""Adam's default decay rates and epsilon."""

_SEED_STRIDE = 1_000_003
"""Distance between the random seeds of the first steps of two trainings with consecutive seeds."""


@dataclass(frozen=True)
class GateOptions:
    """The options of gate training."""

    steps: int = option(300, help="length of the training", unit="steps", minimum=1)
    learning_rate: float = option(0.1, help="learning rate of Adam, for the gates and for the penalty", minimum=0)
    sparsity: float | None = option(
        0.9,
        help="share of gates to close, by raising the penalty until they are; none: keep the penalty constant",
        minimum=0,
        maximum=1,
    )
    warmup: int = option(
        100, help="length of the phase in which the target share of closed gates rises from 0", unit="steps", minimum=0
    )
    penalty: float = option(
        1.0, help="initial penalty on the loss if all gates are open", unit="of the metric", minimum=0
    )
    patience: int | None = option(
        None,
        help="after the warm-up, stop when the mean loss of this many steps is no lower than that of as many before",
        unit="steps",
        minimum=1,
    )
    seed: int = option(0, help="seed of the random numbers", minimum=0, maximum=2**31 - 1)

    def without_effect(self) -> dict[str, str]:
        """Return the options that have no effect; see ``eap_plugin.host.options``."""
        if self.patience is None:
            return {"warmup": "sparsity and patience are none"} if self.sparsity is None else {}
        never = self.warmup + 2 * self.patience >= self.steps
        return {"patience": "warmup and twice patience are all of the steps"} if never else {}


class GateTraining:
    """Gates that are trained to minimize a loss while few of them are open.

    Without a target sparsity, the loss includes λ times the expected share of open gates, with a constant penalty λ.
    With a target share t of closed gates, of which a share s is expected to be closed, it includes λ max(0, t − s)
    instead, and λ is trained to maximize this term. It is zero once s reaches t, so no more gates are closed.

    Attributes:
        losses: the loss at each step so far, penalty included.
    """

    losses: list[float]

    def __init__(self, n_gates: int, options: GateOptions) -> None:
        """Start with all gates at the initial log α, most of them open, and the initial penalty."""
        self._options = options
        self._values = torch.full((n_gates + 1,), START, dtype=torch.float64)  # log α of each gate, and λ
        self._values[-1] = options.penalty
        self._mean, self._square = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self._slope = self._values[:-1]
        self.losses = []

    def start_from(self, scores: Float[Tensor, "gates"]) -> None:
        """Set the initial log α of each gate by the rank of its edge's absolute score.

        The share of gates that is to stay open, 1 - ``sparsity`` (none of them if that is not set), starts at
        ``START`` as without scores, at which a gate with u = 1/2 is 0.9. From there, log α falls linearly with the rank
        to −``START`` for the weakest edge, at which that gate is just closed, and open with probability 1/2: all gates
        can still be trained. Edges of equal score start at their mean.

        Args:
            scores: the scores of the edges; only the order of their absolute values matters.
        """
        n = len(scores)
        stronger = n + 0.5 - mean_ranks(scores.abs())  # the number of stronger edges, and half of its equals and itself
        is_open = 0.0 if self._options.sparsity is None else (1 - self._options.sparsity) * n
        fall = ((stronger - is_open) / max(1.0, n - is_open)).clamp(0, 1)
        self._values[:-1] = START * (1 - 2 * fall)

    @property
    def n_steps(self) -> int:
        """Number of steps so far."""
        return len(self.losses)

    @property
    def open_probability(self) -> Float[Tensor, "gates"]:
        """Probability that each gate is open."""
        return open_probability(self._values[:-1])

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the loss has not fallen within the patience."""
        patience = self._options.patience
        if self.n_steps >= self._options.steps:
            return True
        if patience is None or self.n_steps < self._options.warmup + 2 * patience:
            return False
        return sum(self.losses[-patience:]) >= sum(self.losses[-2 * patience : -patience])

    def draw(self) -> Float[Tensor, "gates"]:
        """Sample the gates of the next step; the seed and the step determine them."""
        generator = torch.Generator().manual_seed((self._options.seed * _SEED_STRIDE + self.n_steps) % 2**32)
        uniform = torch.rand(len(self._values) - 1, dtype=torch.float64, generator=generator)
        drawn, self._slope = gates(self._values[:-1], uniform)
        return drawn

    def step(self, loss: float, gradient: Float[Tensor, "gates"]) -> None:
        """Update log α and the penalty, given the loss with the sampled gates and its gradient at the gates."""
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
        """Return the state that all further steps depend on."""
        losses = torch.tensor(self.losses, dtype=torch.float64)
        return {"values": self._values, "mean": self._mean, "square": self._square, "losses": losses}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the state of another training.

        Raises:
            UsageError: if that training has made more steps than this one is to make.
        """
        self._values, self._mean, self._square = state["values"], state["mean"], state["square"]
        self.losses = state["losses"].tolist()
        if self.n_steps > self._options.steps:
            raise UsageError(
                f"the checkpoint has {self.n_steps} steps; set steps to at least that, or give another file"
            )

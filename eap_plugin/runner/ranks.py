"""The processes of a distributed run, which ``torchrun`` starts: each scores a share of the prompts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch.distributed as dist

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.residual_model import ResidualModel

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""The time that a process waits for the others. One that has ended is noticed at once."""


@dataclass(frozen=True)
class Ranks:
    """All processes of a run, as one of them sees them.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        group: the group of ``torch.distributed`` through which they exchange objects; ``None`` for the default one.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reports and saves results."""
        return self.rank == 0

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Do some work in every process, and return the results of all, in the order of ranks.

        Raises:
            EapPluginError: in every process, if the work fails in one of them or one has ended.
        """
        if self.size == 1:
            return [work()]
        try:
            mine = _Result(value=work())
        except Exception as error:
            self._exchange(_failure(error, self.rank))
            raise
        return [cast(T, result.value) for result in self._exchange(mine)]

    def agree(self, work: Callable[[], T]) -> T:
        """Do some work in every process, and return this process's own result once all have succeeded.

        Raises:
            EapPluginError: in every process, if the work fails in one of them or one has ended.
        """
        own: list[T] = []
        self.gather(lambda: own.append(work()))
        return own[0]

    def leave(self) -> None:
        """Disconnect from the other processes, once all of them are ready to."""
        if self.size > 1:
            dist.barrier(self.group)
            dist.destroy_process_group()

    def _exchange(self, mine: _Result) -> list[_Result]:
        everyone: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(everyone, mine, self.group)
        except RuntimeError as error:
            raise EapPluginError("another process of this run has ended; nothing was written") from error
        for result in everyone:
            if result.error:
                raise (UsageError if result.usage else EapPluginError)(result.error)
        return everyone


@dataclass(frozen=True)
class _Result:
    """What one process sends to the others: the result of its work, or why it failed."""

    value: object = None
    error: str = ""
    usage: bool = False


def _failure(error: Exception, rank: int) -> _Result:
    if isinstance(error, EapPluginError):
        return _Result(error=str(error), usage=isinstance(error, UsageError))
    return _Result(error=f"rank {rank} failed: {type(error).__name__}: {error}")


def join_ranks() -> Ranks:
    """Join the processes that ``torchrun`` has started along with this one.

    Raises:
        UsageError: if its environment variables are missing or wrong.
        EapPluginError: if the other processes cannot be reached.
    """
    if not dist.is_initialized() and _n_expected() > 1:
        try:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        except ValueError as error:
            raise UsageError(f"cannot join the other processes: {error}; start them with torchrun") from error
        except RuntimeError as error:
            raise EapPluginError(f"cannot join the other processes: {error}") from error
    return current_ranks()


def current_ranks() -> Ranks:
    """Return the processes of the default group of ``torch.distributed``.

    Raises:
        UsageError: if there are several processes, but no group.
    """
    if not dist.is_available() or not dist.is_initialized():
        if _n_expected() > 1:
            raise UsageError("the processes are not connected; call torch.distributed.init_process_group() first")
        return Ranks()
    group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=_PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), group)


def ranks_for(model: ResidualModel) -> Ranks:
    """Return the processes among which the prompts of a run of a model are divided.

    Raises:
        UsageError: if the model is on a server, or there are several processes, but no group.
    """
    if model.remote:
        raise UsageError("a model on a server is run by one process; leave distributed out, or run it here")
    return current_ranks()


def _n_expected() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))

"""What a backend is: it makes one library's model objects look like every other's."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from eap_plugin.errors import UsageError
from eap_plugin.model.remote import Remote
from eap_plugin.model.residual_model import ResidualModel


class Backend(ABC):
    """A kind of model object.

    Attributes:
        name: how it is chosen on the command line.
        summary: one line on what it runs.
        requires: the packages that must be installed for it, by import name.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()

    def missing(self) -> str | None:
        """Why this backend cannot be used here, or ``None`` if it can; imports nothing."""
        absent = [package for package in self.requires if importlib.util.find_spec(package) is None]
        return f"{' and '.join(absent)} not installed" if absent else None

    @abstractmethod
    def accepts(self, model: object) -> bool:
        """Whether ``model`` is of this kind; told without importing the library."""

    @abstractmethod
    def wrap(self, model: Any) -> ResidualModel:
        """A model object the user has, as a ``ResidualModel`` that leaves it as it is."""

    @abstractmethod
    def load(self, name: str, *, device: str, dtype: str, revision: str | None) -> ResidualModel:
        """Load a model by name or path.

        Args:
            name: a hub name, or a folder that ``save_pretrained`` wrote, tokenizer included.
            device: such as ``cpu`` or ``cuda:0``.
            dtype: such as ``float32`` or ``bfloat16``.
            revision: the hub's branch, tag or commit.

        Raises:
            UsageError: if there is no such model, in one line.
        """

    def at(self, model: Any, remote: Remote) -> ResidualModel:
        """A model that ``wrap`` or ``load`` gave, as it runs on a server.

        Raises:
            UsageError: if this backend runs in this process only, or the server cannot know the model.
        """
        raise UsageError(f"the backend {self.name} runs in this process only; on a server the backend nnsight does")

    def load_at(self, name: str, remote: Remote, *, revision: str | None) -> ResidualModel:
        """A model on a server, by its name there; no weights are loaded.

        Raises:
            UsageError: if this backend runs in this process only, or there is no such model, in one line.
        """
        raise UsageError(f"the backend {self.name} runs in this process only; on a server the backend nnsight does")

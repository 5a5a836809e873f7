"""Constraints that some model objects put on the runs they can be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from eap_plugin.data.batch import Batch
from eap_plugin.errors import UsageError


@dataclass(frozen=True)
class RunConstraints:
    """The kind of run that a model object was made for, as AutoCircuit's ``PatchableModel`` is.

    Attributes:
        n_prefix: the number of tokens that it puts before every prompt, as cached keys and values.
        n_pos: the number of tokens that every prompt must have; ``None`` for any.
        whole_batches: whether batches must be run whole, without splitting them.
        options: by name, the options that an algorithm must have, each with its value and, in words, the setting of the
            model that requires it.
    """

    n_prefix: int = 0
    n_pos: int | None = None
    whole_batches: bool = False
    options: Mapping[str, tuple[object, str]] = field(default_factory=dict)

    def check_data(self, data: object, batches: Sequence[Batch]) -> None:
        """Refuse prompts that do not fit the model's cached prefix or its number of tokens.

        Raises:
            UsageError: if prompts and model disagree about a prefix or about the number of tokens.
        """
        cached = getattr(data, "kv_cache", None) is not None
        if cached and not self.n_prefix:
            raise UsageError(
                "the loader holds only the ends of its prompts (tail_divergence), but the model has no cached keys "
                "and values for what comes before; make the PatchableModel with kv_caches=(loader.kv_cache,), or load "
                "the prompts with tail_divergence=False"
            )
        if self.n_prefix and hasattr(data, "batch"):
            raise UsageError(
                f"a task holds whole prompts, but this model puts {self.n_prefix} cached tokens before each; "
                f"make the PatchableModel without kv_caches"
            )
        widths = {batch.clean.shape[1] for batch in batches}
        if self.n_pos is not None and widths != {self.n_pos}:
            raise UsageError(
                f"the model was made for prompts of {self.n_pos} tokens (seq_len), but these have "
                f"{' and '.join(map(str, sorted(widths)))}; make the PatchableModel with the loader's seq_len"
            )

    def check_batch_size(self, batch_size: int | None) -> None:
        """Refuse to split batches that must be run whole."""
        if self.whole_batches and batch_size is not None:
            raise UsageError(
                "prompts have different cached prefixes, which depend on their place in the batch; "
                "leave batch_size out, or load the prompts with tail_divergence=False"
            )

    def required_options(self, given: Mapping[str, Any], declared: type, owner: str) -> dict[str, Any]:
        """Return the options that the model requires, with their values.

        Args:
            given: the options that the caller has set.
            declared: the dataclass of the algorithm's options.
            owner: the algorithm's name.

        Raises:
            UsageError: if the algorithm has no such option, or the caller has set another value.
        """
        names = {option.name for option in fields(declared)}
        for name, (value, because) in self.options.items():
            if name not in names:
                raise UsageError(
                    f"the model was made with {because}, which needs {name}={value}, but {owner} has no option "
                    f"{name!r}; make the model without it, or choose another algorithm"
                )
            if given.get(name, value) != value:
                raise UsageError(
                    f"the model was made with {because}, which needs {name}={value}, got {given[name]!r}; "
                    f"leave the option out, or make the model without it"
                )
        return {name: value for name, (value, _) in self.options.items()}

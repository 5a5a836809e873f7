"""The terms on which a user's model object can be run, where they are narrower than any model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from eap_plugin.batch import Batch
from eap_plugin.errors import UsageError


@dataclass(frozen=True)
class Terms:
    """What a model object was made for; AutoCircuit's ``PatchableModel`` is made for one kind of run.

    Attributes:
        n_prefix: how many tokens, cached as keys and values, it puts before every prompt.
        n_pos: the number of tokens that every prompt must have.
        whole_batches: prompts can be run only in the batches that they come in.
        options: options that an algorithm must have, with their values; in words, what in the model asks for each.
    """

    n_prefix: int = 0
    n_pos: int | None = None
    whole_batches: bool = False
    options: Mapping[str, tuple[object, str]] = field(default_factory=dict)

    def check_data(self, data: object, batches: Sequence[Batch]) -> None:
        """Refuse prompts that the model would not see as they are meant.

        Raises:
            UsageError: if prompts and model disagree about a prefix or about the number of tokens.
        """
        cached = getattr(data, "kv_cache", None) is not None
        if cached and not self.n_prefix:
            raise UsageError(
                "the loader holds only the ends of its prompts (tail_divergence), and the model has nothing cached of "
                "what comes before; make the PatchableModel with kv_caches=(loader.kv_cache,), or load the prompts "
                "with tail_divergence=False"
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
        """Refuse to cut batches that have to stay whole."""
        if self.whole_batches and batch_size is not None:
            raise UsageError(
                "the model's prompts have different cached prefixes, known by their place in the batch; "
                "leave batch_size out, or load the prompts with tail_divergence=False"
            )

    def required_options(self, given: Mapping[str, Any], declared: type, owner: str) -> dict[str, Any]:
        """The options that the model asks for, with their values.

        Args:
            given: what the caller gave.
            declared: the dataclass of the algorithm's options.
            owner: the algorithm's name.

        Raises:
            UsageError: if the algorithm has no such option, or another value was given.
        """
        names = {option.name for option in fields(declared)}
        for name, (value, because) in self.options.items():
            if name not in names:
                raise UsageError(
                    f"the model was made with {because}, which needs {name}={value}, but {owner} has no option "
                    f"{name!r}; make it without, or choose another algorithm"
                )
            if given.get(name, value) != value:
                raise UsageError(
                    f"the model was made with {because}, which needs {name}={value}, got {given[name]!r}; "
                    f"leave the option out, or make it without"
                )
        return {name: value for name, (value, _) in self.options.items()}

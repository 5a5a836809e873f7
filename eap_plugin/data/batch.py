"""A batch of prompt pairs: clean and corrupt tokens, right and wrong answers, and the position of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eap_plugin.data.prompts import Prefix, Prompts
from eap_plugin.errors import UsageError

NO_ANSWER = -1
"""The value that pads answer rows of unequal length; metrics ignore it."""


@dataclass(frozen=True)
class Batch:
    """Prompt pairs that are evaluated together: the metric is averaged within a batch, scores of batches are summed.

    Attributes:
        clean: token ids of the clean prompts.
        corrupt: token ids of the corrupt prompts, aligned with ``clean`` position by position.
        answers: ids of the right next tokens, one or more per prompt, rows padded with ``NO_ANSWER``.
        wrong_answers: ids of the wrong next tokens, likewise.
        attention_mask: true at real tokens, false at padding (left or right); ``None`` when nothing is padded.
        clean_logits: the logits of the unmodified model on the clean prompts, for metrics that compare against them.
        groups: true at the group that each prompt pair belongs to; ``None`` if prompts are not grouped.
        prefix: the first positions, which are the same in clean and corrupt prompts, if they were run already.
        places: the place of each prompt pair in the data, by which their order is restored; ``None`` if not needed.
    """

    clean: Int[Tensor, "batch pos"]
    corrupt: Int[Tensor, "batch pos"]
    answers: Int[Tensor, "batch n_answers"]
    wrong_answers: Int[Tensor, "batch n_wrong"]
    attention_mask: Bool[Tensor, "batch pos"] | None = None
    clean_logits: Float[Tensor, "batch vocab"] | None = None
    groups: Bool[Tensor, "batch groups"] | None = None
    prefix: Prefix | None = None
    places: Int[Tensor, "batch"] | None = None

    def __post_init__(self) -> None:
        """Check dtypes and shapes, so that a mistake is an error here and not a wrong score later."""
        if self.clean.ndim == 2 and not self.clean.numel():
            raise UsageError(
                f"a batch needs at least one prompt pair of at least one token, got {list(self.clean.shape)}"
            )
        if self.clean.ndim != 2 or self.clean.shape != self.corrupt.shape:
            raise UsageError(
                f"clean and corrupt prompts must be [batch, pos] tensors of the same shape, got "
                f"{list(self.clean.shape)} and {list(self.corrupt.shape)}; pad both to the same length"
            )
        for name in ("clean", "corrupt", "answers", "wrong_answers"):
            ids: Tensor = getattr(self, name)
            if ids.dtype != torch.long:
                raise UsageError(
                    f"{name} must hold token ids of dtype torch.int64, got {ids.dtype}; "
                    f"use the tokenizer's input_ids, or convert them with .long()"
                )
        for name in ("answers", "wrong_answers"):
            shape = list(getattr(self, name).shape)
            if len(shape) != 2 or shape[0] != len(self.clean):
                raise UsageError(f"{name} must be [batch={len(self.clean)}, n] token ids, got {shape}")
        if not bool((self.answers != NO_ANSWER).any(dim=1).all()):
            raise UsageError("every prompt needs at least one right answer")
        if self.attention_mask is not None:
            if self.attention_mask.dtype != torch.bool:
                raise UsageError(
                    f"attention_mask must be boolean, true at real tokens, got {self.attention_mask.dtype}"
                )
            if self.attention_mask.shape != self.clean.shape:
                raise UsageError(
                    f"attention_mask must have the prompts' shape {list(self.clean.shape)}, "
                    f"got {list(self.attention_mask.shape)}"
                )
            if not bool(self.attention_mask.any(dim=1).all()):
                raise UsageError("attention_mask marks every token of a prompt as padding; drop that prompt")

    def __len__(self) -> int:
        """Return the number of prompt pairs."""
        return len(self.clean)

    @property
    def last(self) -> Int[Tensor, "batch"]:
        """The position of each prompt's last real token, whose logits the metric reads."""
        n_pos = self.clean.shape[1]
        if self.attention_mask is None:
            return torch.full((len(self),), n_pos - 1, device=self.clean.device)
        positions = torch.arange(n_pos, device=self.clean.device)
        return torch.where(self.attention_mask, positions, -1).amax(dim=1)

    @property
    def real(self) -> Bool[Tensor, "batch pos"]:
        """True at real tokens, also where nothing is padded."""
        return Prompts(self.clean, self.attention_mask).real

    @property
    def n_prefix(self) -> int:
        """The number of positions that were run already."""
        return 0 if self.prefix is None else self.prefix.n_pos

    @property
    def clean_prompts(self) -> Prompts:
        """The clean prompts after the prefix, read at each one's last real token."""
        return self.prompts(self.clean)

    @property
    def corrupt_prompts(self) -> Prompts:
        """The corrupt prompts after the prefix, read at each one's last real token."""
        return self.prompts(self.corrupt)

    def prompts(self, tokens: Int[Tensor, "batch pos"]) -> Prompts:
        """Return prompts with these tokens as the model runs them: after the prefix, with this batch's padding."""
        whole = Prompts(tokens, self.attention_mask, self.last)
        return whole if self.prefix is None else replace(whole.split(self.prefix.n_pos)[1], prefix=self.prefix)

    @property
    def first_difference(self) -> int:
        """The first position at which any prompt's clean and corrupt tokens differ; the last one if none do."""
        differs = (self.clean != self.corrupt).any(dim=0).nonzero()
        return int(differs[0, 0]) if len(differs) else self.clean.shape[1] - 1

    def select(self, rows: slice | Int[Tensor, "some"]) -> Batch:
        """Return some of the prompt pairs as a new batch."""
        return self._map(lambda part: part[rows])

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the prompt pairs in order, in batches of at most ``size``.

        Raises:
            UsageError: if ``size`` is below 1.
        """
        if size < 1:
            raise UsageError(f"batch_size must be at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self.select(slice(start, start + size))

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on ``device``."""
        return self._map(lambda part: part.to(device))

    def copy(self) -> Batch:
        """Return a copy with its own memory.

        A batch from ``select`` or ``split`` is a view: it keeps the whole batch in memory, and is pickled with it.
        """
        return self._map(lambda part: part.clone())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch with ``change`` applied to every tensor."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {
            name: part.map(change) if isinstance(part, Prefix) else change(part)
            for name, part in parts.items()
            if part is not None
        }
        return replace(self, **changed)


def pad_answers(rows: Sequence[Sequence[int] | Tensor]) -> Int[Tensor, "batch n"]:
    """Return one row of ids per prompt, padded with ``NO_ANSWER`` to the longest row."""
    tensors = [_ids(row).reshape(-1) for row in rows]
    width = max((len(t) for t in tensors), default=0)
    dtype = next((t.dtype for t in tensors if t.dtype != torch.long), torch.long)
    out = torch.full((len(tensors), width), NO_ANSWER, dtype=dtype)
    for i, row in enumerate(tensors):
        out[i, : len(row)] = row
    return out


def _ids(values: Any) -> Tensor:
    """Convert integers of any type to ``torch.int64``; leave other dtypes unchanged, for ``Batch`` to reject."""
    tensor = torch.as_tensor(values)
    is_whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.long() if is_whole or not tensor.numel() else tensor


def as_batch(item: object) -> Batch:
    """Make a ``Batch`` from any object with the attributes ``clean``, ``corrupt``, ``answers`` and ``wrong_answers``.

    AutoCircuit's ``PromptPairBatch`` is such an object; its answers may be a tensor or a list of tensors.

    Raises:
        UsageError: if an attribute is missing or the shapes disagree.
    """
    if isinstance(item, Batch):
        return item
    missing = [n for n in ("clean", "corrupt", "answers", "wrong_answers") if not hasattr(item, n)]
    if missing:
        raise UsageError(
            f"a batch must have .clean, .corrupt, .answers and .wrong_answers; {type(item).__name__} "
            f"lacks .{', .'.join(missing)}"
        )
    answers, wrong = (
        _ids(a) if isinstance(a, Tensor) and a.ndim == 2 else pad_answers(list(a))
        for a in (item.answers, item.wrong_answers)  # type: ignore[attr-defined]
    )
    mask = getattr(item, "attention_mask", None)
    return Batch(
        clean=_ids(item.clean),  # type: ignore[attr-defined]
        corrupt=_ids(item.corrupt),  # type: ignore[attr-defined]
        answers=answers,
        wrong_answers=wrong,
        attention_mask=None if mask is None else torch.as_tensor(mask).bool(),
    )


def as_batches(data: object) -> list[Batch]:
    """Return a list of batches from a task, a single batch, or any iterable of batches (such as a data loader).

    Raises:
        UsageError: if ``data`` is none of these or contains no batches.
    """
    if hasattr(data, "batch") and callable(data.batch):
        return [data.batch()]
    if isinstance(data, Iterable):
        batches = [as_batch(item) for item in data]
        if not batches:
            raise UsageError("the data contains no batches; give at least one prompt pair")
        return batches
    return [as_batch(data)]

"""Load tasks by name or from a file, and check batches against the model that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eap_plugin.api.models import wrap_model
from eap_plugin.api.registries import formats, tasks
from eap_plugin.data.batch import NO_ANSWER, Batch, as_batches
from eap_plugin.errors import UsageError, shown
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.load import read_task_file
from eap_plugin.task.task import PromptPair, Task, encode_task

_LONGEST = 1000
"""Characters that the name of a task, or the path of its file, may have."""


def load_task(
    name: str | Path,
    model: object,
    *,
    n_prompts: int = 64,
    seed: int = 0,
    format: str | None = None,
    prepend_bos: bool | None = None,
) -> Task:
    """Load a task's prompts for a model's tokenizer.

    Args:
        name: a registered task, or a file of prompt pairs; ``"mib/ioi:test"`` is the split ``test`` of that task.
        model: the model whose tokenizer encodes the prompts.
        n_prompts: number of prompt pairs to generate, or the most to take from a file or a dataset.
        seed: seed for generating the prompts; for a dataset, 0 takes the first and any other seed shuffles before.
        format: the file's format; detected by default.
        prepend_bos: whether to put a beginning-of-sequence token before each prompt; by default, as the model does.

    Raises:
        UsageError: if there is no such task or file, it has fewer prompts to make, or none of them can be used with
            this tokenizer.
    """
    wrapped = wrap_model(model)
    if n_prompts < 1:
        raise UsageError(f"a task needs at least one prompt pair, got {n_prompts}")
    bos = wrapped.prepend_bos if prepend_bos is None else prepend_bos
    if bos and getattr(wrapped.tokenizer, "bos_token_id", None) is None:
        raise UsageError(f"the tokenizer of {wrapped.name} has no beginning-of-sequence token to prepend")
    source = task_source(name, format)
    if isinstance(source, list):
        task = encode_task(Path(name).stem, source, wrapped.tokenizer, prepend_bos=bos, limit=n_prompts)
        known = {"name": str(Path(name).resolve()), "format": format}
    else:
        possible = _n_pairs(source, wrapped)
        if possible is not None and n_prompts > possible:
            raise UsageError(
                f"task {str(name)!r} can make at most {possible:,} different prompt pairs, got {n_prompts:,}"
            )
        task = source.generate(wrapped.tokenizer, n_prompts=n_prompts, seed=seed, prepend_bos=bos)
        known = {"name": str(name), "format": None}
    return replace(task, source=known | {"n_prompts": n_prompts, "seed": seed, "prepend_bos": bos})


def held_out_task(task: Task, model: object) -> Task:
    """Load the next prompts of a task, at most as many as it has, for judging what was found on its own prompts.

    Of a generated task, these are the next prompts of the same seed; of a file or a dataset, the rows after those that
    the task has. Prompts whose clean prompt is one of the task's are left out.

    Raises:
        UsageError: if the task was not loaded with ``load_task``, or there are no other prompts.
    """
    if not task.source:
        raise UsageError(
            f"task {task.name!r} was not loaded by name, so other prompts of it cannot be; give them as held_out, or "
            f"choose same_prompts"
        )
    wanted = task.source["n_prompts"] + len(task)
    source = task_source(task.source["name"], task.source["format"])
    possible = None if isinstance(source, list) else _n_pairs(source, wrap_model(model))
    more = load_task(model=model, **{**task.source, "n_prompts": min(wanted, possible or wanted)})
    return more.without(task, limit=len(task))


def task_source(name: str | Path, format: str | None = None) -> TaskGenerator | list[PromptPair]:
    """Return the generator of a registered task, or the prompt pairs of a file; this needs no model.

    Raises:
        UsageError: if there is no such task or file, the file is malformed, or a format is given for a named task.
    """
    if not str(name) or len(str(name)) > _LONGEST:
        raise UsageError(f"a task is one of those that eap tasks lists, or a file; got {shown(str(name))}")
    path = Path(name)
    registered, _, part = str(name).partition(":")
    named = (part and registered in tasks()) or str(name) in tasks() or not (path.suffix or path.exists())
    if named and format is not None:
        raise UsageError(f"a format is for files of prompts, but {str(name)!r} is the name of a task; leave format out")
    if part and registered in tasks():
        return tasks()[registered].part(part)
    if named:
        return tasks()[str(name)]
    if format is not None:
        return formats()[format].read(path)
    return read_task_file(path, [formats()[known] for known in formats()])


def _n_pairs(source: TaskGenerator, model: ResidualModel) -> int | None:
    """Return how many different prompt pairs a task can make; plugins' tasks need not have ``n_pairs``."""
    return source.n_pairs(model.tokenizer) if isinstance(source, TaskGenerator) else None


def batches_for(model: ResidualModel, data: object) -> tuple[Batch, ...]:
    """Return a user's data as batches, checked against the model.

    Raises:
        UsageError: if the model cannot be run on them.
    """
    batches = as_batches(data)
    model.run_constraints.check_data(data, batches)
    _check_ids(model, batches)
    return tuple(batches)


def _check_ids(model: ResidualModel, batches: Sequence[Batch]) -> None:
    for batch in batches:
        n_pos = batch.clean.shape[1]
        if model.n_ctx is not None and n_pos > model.n_ctx:
            raise UsageError(
                f"prompts have up to {n_pos} tokens, but {model.name} takes at most {model.n_ctx}; shorten them"
            )
        for name in ("clean", "corrupt", "answers", "wrong_answers"):
            ids = getattr(batch, name)
            least = NO_ANSWER if "answers" in name else 0
            if ids.numel() and not least <= int(ids.min()) <= int(ids.max()) < model.n_vocab:
                raise UsageError(
                    f"{name} has token ids from {int(ids.min())} to {int(ids.max())}, but {model.name} has "
                    f"{model.n_vocab} tokens; use the model's own tokenizer"
                )

"""Train ``tasks-gpt2`` in ``eap_plugin/shipped`` on the built-in tasks.

    python -m scripts.train_tasks_model [--out FOLDER]

Takes about ten minutes on one core and prints the held-out accuracy on each task. The seed is fixed, so the same
library versions on the same machine give the same weights.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from eap_plugin import shipped
from eap_plugin.metric.metric import difference
from eap_plugin.task import agreement, greater_than, ioi
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.task import Ids, Task
from scripts.train_shipped_models import N_POSITIONS, SPECIAL, save

NAME = "tasks-gpt2"
TASKS: tuple[TaskGenerator, ...] = (ioi.IOI(), greater_than.GreaterThan(), agreement.SubjectVerbAgreement())
WORD = r" ?\d\d| ?[A-Za-z]+|[^\w\s]"
STEPS, BATCH, PEAK_RATE, SEED = 1700, 192, 3e-3, 0
N_PAIRS = {"ioi": 50_000, "greater-than": 5000, "subject-verb-agreement": 5000}
"""The number of prompt pairs that are generated of each task."""
MIXTURE = ("ioi", "greater-than", "ioi", "subject-verb-agreement", "ioi")
"""The tasks of the rows of a batch, in turn; the first is the hardest to learn."""
CARD = Path(__file__).with_name("tasks_model_card.md")


class Example(NamedTuple):
    """A prompt and all its right answers, as token ids."""

    prompt: Ids
    answers: Ids


def build_tokenizer() -> Tokenizer:
    """Build a tokenizer whose tokens are words with their leading space, and years in two halves."""
    vocab = {word: i for i, word in enumerate((*SPECIAL, *sorted(_words())))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _words() -> set[str]:
    """Return all words of the tasks' prompts and answers, with the space before them."""
    scene = {"first": "A", "second": "A", "giver": "A", "place": "a", "thing": "a"}
    texts = [template.format(**scene) for template in ioi.TEMPLATES]
    texts += ["The war lasted from the year to the year"]
    words = {word for text in texts for word in re.findall(WORD, text)} - {" A", " a"}
    words |= {" a"} | {f" {century}" for century in greater_than.CENTURIES} | {f"{year:02d}" for year in range(100)}
    nouns = [*agreement.SUBJECTS, *agreement.DISTRACTORS]
    listed = (*ioi.NAMES, *ioi.PLACES, *ioi.THINGS, *greater_than.NOUNS, *agreement.PREPOSITIONS)
    words |= {f" {word}" for word in (*listed, *nouns, *(f"{noun}s" for noun in nouns))}
    return words | {*agreement.SINGULAR, *agreement.PLURAL}


def build_model(vocab_size: int) -> PreTrainedModel:
    """Build an untrained model with 3 layers, width 64 and 4 heads."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size, n_positions=N_POSITIONS, n_embd=64, n_layer=3, n_head=4,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, pad_token_id=1,
        )
    )  # fmt: skip


def is_held_out(prompt: Ids, key_words: frozenset[int]) -> bool:
    """Return whether two of a prompt's key words are held out together; about a fifth of all pairs are."""
    found = sorted(set(prompt) & key_words)
    return any((a + b) % 5 == 0 for a, b in combinations(found, 2))


def key_words(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids of what prompts differ in: names; events and years; subjects and the nouns beside them."""
    nouns = [*agreement.SUBJECTS, *agreement.DISTRACTORS]
    words = [f" {word}" for word in (*ioi.NAMES, *greater_than.NOUNS, *nouns, *(f"{noun}s" for noun in nouns))]
    return frozenset(tokenizer.token_to_id(word) for word in [*words, *(f"{year:02d}" for year in range(100))])


def examples(task: Task, first_years: set[int]) -> Iterator[Example]:
    """Yield the clean and corrupt prompts of a task with what may follow each.

    Args:
        task: the task.
        first_years: the years that cannot follow the corrupt prompts of greater-than, which begin in 01.
    """
    for clean, corrupt, right, wrong in zip(task.clean, task.corrupt, task.answers, task.wrong_answers, strict=True):
        yield Example(clean, right)
        if task.name == agreement.SubjectVerbAgreement.name:
            yield Example(corrupt, wrong)
        else:
            yield Example(corrupt, tuple(i for i in right + wrong if i not in first_years))


def training_examples(tokenizer: Tokenizer, folder: Path) -> dict[str, list[Example]]:
    """Return the examples of each task without those that are held out."""
    loaded, words = PreTrainedTokenizerFast.from_pretrained(folder), key_words(tokenizer)
    first_years = {tokenizer.token_to_id(year) for year in ("00", "01")}
    found = {}
    for generator in TASKS:
        task = generator.generate(loaded, n_prompts=N_PAIRS[generator.name], seed=SEED, prepend_bos=True)
        kept = {e for e in examples(task, first_years) if not is_held_out(e.prompt, words)}
        found[generator.name] = sorted(kept)
    return found


def train(model: PreTrainedModel, data: Mapping[str, Sequence[Example]]) -> None:
    """Train on the next-token loss over prompts, and on the answers with the same weight, all right ones alike."""
    rng = random.Random(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=STEPS, pct_start=0.1)
    model.train()
    for step in range(STEPS):
        rows = [rng.choice(data[MIXTURE[row % len(MIXTURE)]]) for row in range(BATCH)]
        ids, mask, targets = _padded(rows, model.config.vocab_size)
        logits = model(ids, attention_mask=mask).logits
        words = cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none") * mask[:, 1:]
        answers = cross_entropy(logits[torch.arange(BATCH), mask.sum(1) - 1], targets)
        objective = words.sum() / mask[:, 1:].sum() + answers
        optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"  step {step + 1}: answer loss {answers.item():.3f}", flush=True)


def _padded(rows: Sequence[Example], vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return prompts, padded on the right, their mask, and the target distribution [batch, vocab] of each answer."""
    width = max(len(row.prompt) for row in rows)
    ids = torch.ones(len(rows), width, dtype=torch.long)  # 1 is <pad>
    mask = torch.zeros_like(ids)
    targets = torch.zeros(len(rows), vocab_size)
    for index, row in enumerate(rows):
        ids[index, : len(row.prompt)] = torch.tensor(row.prompt)
        mask[index, : len(row.prompt)] = 1
        targets[index, list(row.answers)] = 1 / len(row.answers)
    return ids, mask, targets


@torch.no_grad()
def measure(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Measure the model on the prompts that are held out, and return a line for each task."""
    loaded, words = PreTrainedTokenizerFast.from_pretrained(folder), key_words(tokenizer)
    model.eval()
    lines = []
    for generator in TASKS:
        task = generator.generate(loaded, n_prompts=4000, seed=SEED + 1, prepend_bos=True)
        rows = [row for row, ids in enumerate(task.clean) if is_held_out(ids, words)]
        columns = (task.clean, task.corrupt, task.answers, task.wrong_answers)
        batch = Task(task.name, *(tuple(column[row] for row in rows) for column in columns)).batch()
        mask = torch.ones_like(batch.clean) if batch.attention_mask is None else batch.attention_mask.long()
        every = torch.arange(len(batch))
        clean, corrupt = (
            model(ids, attention_mask=mask).logits[every, batch.last] for ids in (batch.clean, batch.corrupt)
        )
        right = (batch.answers == clean.argmax(-1, keepdim=True)).any(1).float().mean().item()
        before, after = (difference(logits, batch).mean().item() for logits in (clean, corrupt))
        lines.append(
            f"- `{task.name}`: {right:.2%} of {len(batch)} held-out prompts right, "
            f"logit difference {before:.2f} clean and {after:.2f} corrupt"
        )
    return lines


def main() -> None:
    """Train the model, measure it and write its card."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(shipped.__file__).parent, help="folder to save the model in")
    folder = parser.parse_args().out / NAME
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer.get_vocab_size())
    save(model, tokenizer, folder)  # the tasks read the tokenizer from there
    train(model, training_examples(tokenizer, folder))
    save(model, tokenizer, folder)
    measured = measure(model, tokenizer, folder)
    card = CARD.read_text().format(
        n_params=model.num_parameters(),
        vocab_size=tokenizer.get_vocab_size(),
        steps=STEPS,
        seed=SEED,
        batch=BATCH,
        measured="\n".join(measured),
        n_positions=N_POSITIONS,
    )
    (folder / "README.md").write_text(card)
    print("\n".join(measured), flush=True)


if __name__ == "__main__":
    main()

"""Train the models in ``eap_plugin/shipped`` on the sentences of the ``ioi`` task.

    python scripts/train_shipped_models.py [--model ioi-gpt2 | ioi-llama] [--out FOLDER]

Takes about two minutes per model on one core and prints the held-out accuracy. The seeds are fixed, so the
same library versions on the same machine give the same weights.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from itertools import combinations
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from eap_plugin import shipped
from eap_plugin.task.ioi import IOI, NAMES, PLACES, TEMPLATES, THINGS
from eap_plugin.task.task import Task

SPECIAL = ("<bos>", "<pad>", "<unk>")
WORD = r" ?\w+|[^\w\s]"
N_POSITIONS = 32
BATCH, PEAK_RATE = 224, 3e-3
RECIPES = {"ioi-gpt2": (500, 2), "ioi-llama": (700, 0)}
"""Steps and seed; the seed of ioi-gpt2 is the one of six whose circuit has the fewest edges, so it is easy to read."""
THREE_NAMES = 0.1
"""The share of training sentences in which a third person gives, so that either of the two may be the receiver."""
N_TEST = 4000
CARD = Path(__file__).with_name("shipped_model_card.md")


def held_out(first: str, second: str) -> bool:
    """Return whether a pair of names, in either order, is held out of training; about a fifth of all pairs are."""
    return (NAMES.index(first) + NAMES.index(second)) % 5 == 0


def build_tokenizer() -> Tokenizer:
    """Build a tokenizer whose tokens are words with their leading space; the special tokens come first."""
    blanks = {"first": "", "second": "", "giver": "", "place": "", "thing": ""}
    text = " ".join(template.format(**blanks) for template in TEMPLATES) + "."
    starts = {template.split()[0] for template in TEMPLATES}
    inner = {f" {word}" for word in re.findall(r"\w+", text) if word not in starts}
    lists = {f" {word}" for word in (*NAMES, *PLACES, *THINGS)}
    words = sorted(starts | inner | lists | set(re.findall(r"[^\w\s]", text)))
    vocab = {word: i for i, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def build_model(name: str, vocab_size: int) -> PreTrainedModel:
    """Build an untrained model with 3 layers, width 64 and 4 heads."""
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    if name == "ioi-gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size, n_positions=N_POSITIONS, n_embd=64, n_layer=3, n_head=4,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **special,
            )
        )  # fmt: skip
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size, max_position_embeddings=N_POSITIONS, hidden_size=64, intermediate_size=128,
            num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, **special,
        )
    )  # fmt: skip


def sentence(rng: random.Random) -> str:
    """Write a complete training sentence without a held-out pair of names."""
    three = rng.random() < THREE_NAMES
    while True:
        names = rng.sample(NAMES, 3 if three else 2)
        if not any(held_out(a, b) for a, b in combinations(names, 2)):
            break
    receiver, other = names[:2]
    first, second = rng.choice([(receiver, other), (other, receiver)])
    prompt = rng.choice(TEMPLATES).format(
        first=first, second=second, giver=names[-1], place=rng.choice(PLACES), thing=rng.choice(THINGS)
    )
    return f"{prompt} {receiver}."


def train(model: PreTrainedModel, tokenizer: Tokenizer, steps: int, seed: int) -> None:
    """Train on next-token loss over whole sentences; the receiver's name weighs as much as all other words together."""
    rng = random.Random(seed)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        rows = tokenizer.encode_batch([sentence(rng) for _ in range(BATCH)])
        ids = torch.tensor([row.ids for row in rows])
        mask = torch.tensor([row.attention_mask for row in rows])
        logits = model(ids, attention_mask=mask).logits[:, :-1]
        loss = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none") * mask[:, 1:]
        name = mask.sum(dim=1, keepdim=True) - 3  # before the full stop, seen one position earlier
        objective = loss.sum() / mask[:, 1:].sum() + loss.gather(1, name).mean()
        optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"  step {step + 1}: answer loss {loss.gather(1, name).mean():.3f}", flush=True)
    tokenizer.no_padding()


@torch.no_grad()
def measure(model: PreTrainedModel, folder: Path, seed: int) -> str:
    """Measure the model on new prompts with held-out pairs of names, and return the result as one line."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    task = IOI().generate(tokenizer, n_prompts=N_TEST, seed=seed + 1, prepend_bos=True)
    batch = unseen(task, tokenizer).batch()
    assert batch.attention_mask is not None
    mask = batch.attention_mask.long()
    model.eval()
    rows = torch.arange(len(batch))
    clean, corrupt = (
        model(tokens, attention_mask=mask).logits[rows, batch.last] for tokens in (batch.clean, batch.corrupt)
    )
    right, wrong = batch.answers[:, 0], batch.wrong_answers[:, 0]
    difference = [(logits[rows, right] - logits[rows, wrong]).mean().item() for logits in (clean, corrupt)]
    accuracy = (clean.argmax(dim=-1) == right).float().mean().item()
    return (
        f"{accuracy:.2%} of {len(batch)} held-out prompts right, "
        f"logit difference {difference[0]:.2f} clean and {difference[1]:.2f} corrupt"
    )


def unseen(task: Task, tokenizer: PreTrainedTokenizerFast) -> Task:
    """Select the prompts of an ``ioi`` task whose pair of names is held out."""
    pairs = [
        [tokenizer.decode([ids[0]]).strip() for ids in (right, wrong)]
        for right, wrong in zip(task.answers, task.wrong_answers, strict=True)
    ]
    kept = [i for i, pair in enumerate(pairs) if held_out(*pair)]
    clean, corrupt, answers, wrong = (
        tuple(rows[i] for i in kept) for rows in (task.clean, task.corrupt, task.answers, task.wrong_answers)
    )
    return Task(task.name, clean, corrupt, answers, wrong)


def save(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Save the model in a form that every supported version of transformers can read."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config.pop("transformers_version")
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "model.safetensors").chmod(0o644)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<bos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": N_POSITIONS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def write_card(model: PreTrainedModel, measured: str, folder: Path) -> None:
    """Write the model card, with the accuracy just measured."""
    config = model.config
    text = CARD.read_text().format(
        name=folder.name,
        kind="GPT-2-style" if config.model_type == "gpt2" else "Llama-style",
        kv_heads=getattr(config, "num_key_value_heads", config.num_attention_heads),
        n_params=model.num_parameters(),
        vocab_size=config.vocab_size,
        steps=RECIPES[folder.name][0],
        seed=RECIPES[folder.name][1],
        batch=BATCH,
        measured=measured,
        n_positions=N_POSITIONS,
        n_templates=len(TEMPLATES),
        n_names=len(NAMES),
    )
    (folder / "README.md").write_text(text)


def main() -> None:
    """Train the models that were asked for, or both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=RECIPES, help="train only this one")
    parser.add_argument("--out", type=Path, default=Path(shipped.__file__).parent, help="folder to save the models in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in (arguments.model,) if arguments.model else RECIPES:
        print(name, flush=True)
        steps, seed = RECIPES[name]
        torch.manual_seed(seed)
        tokenizer = build_tokenizer()
        model = build_model(name, tokenizer.get_vocab_size())
        train(model, tokenizer, steps, seed)
        folder = arguments.out / name
        save(model, tokenizer, folder)
        measured = measure(model, folder, seed)
        write_card(model, measured, folder)
        print(f"  {measured}", flush=True)


if __name__ == "__main__":
    main()

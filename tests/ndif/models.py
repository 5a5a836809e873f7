"""Tiny random models in folders, which a server loads by their path and without a hub."""

from __future__ import annotations

from pathlib import Path

import nnsight.modeling.huggingface
from nnsight.modeling.transformers import TransformersModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.support import zoo

NAMES = ("gpt2", "llama")


def save(name: str, folder: Path) -> Path:
    """Save the model called ``name`` of the zoo, with a tokenizer of one word per id, and give its folder."""
    path = folder / name
    zoo.build(name).save_pretrained(path)
    words = {"<bos>": 0, "<eos>": 1, "<pad>": 2} | {f"w{i}": i for i in range(zoo.FIRST_WORD, zoo.VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<eos>"
    ).save_pretrained(path)
    return path


def without_weights(path: Path) -> TransformersModel:
    """Load the model in a folder as a client does: without weights, and known to the server by its path."""
    nnsight.modeling.huggingface._ID_CACHE[str(path)] = str(path)  # else nnsight asks the hub for its full name
    return TransformersModel(str(path), task="text-generation")


def with_weights(path: Path, dtype: str = "float32") -> TransformersModel:
    """Load the model in a folder here, frozen as a server's models are."""
    model = TransformersModel(str(path), task="text-generation", dispatch=True, dtype=dtype, device="cpu")
    model._module.requires_grad_(False)
    return model

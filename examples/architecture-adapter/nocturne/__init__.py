"""A Hugging Face architecture of its own; importing it makes it known to transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from nocturne.model import NocturneConfig, NocturneForCausalLM

AutoConfig.register("nocturne", NocturneConfig)
AutoModelForCausalLM.register(NocturneConfig, NocturneForCausalLM)

__all__ = ["NocturneConfig", "NocturneForCausalLM"]

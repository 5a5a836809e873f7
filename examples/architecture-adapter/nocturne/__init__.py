"""A new Hugging Face architecture; importing this package registers it with transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from nocturne.model import NocturneConfig, NocturneForCausalLM

AutoConfig.register("nocturne", NocturneConfig)
AutoModelForCausalLM.register(NocturneConfig, NocturneForCausalLM)

__all__ = ["NocturneConfig", "NocturneForCausalLM"]

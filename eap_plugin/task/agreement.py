"""Subject-verb agreement: a verb agrees with its subject, not with the noun next to it."""

from __future__ import annotations

import random
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.sampling import sample_pairs, single_tokens
from eap_plugin.task.task import PromptPair, Task, encode_task

SUBJECTS = (
    "actor", "artist", "author", "doctor", "driver", "farmer", "friend", "judge", "lawyer", "leader",
    "neighbor", "officer", "owner", "player", "singer", "soldier", "student", "teacher", "worker",
    "writer",
)  # fmt: skip
DISTRACTORS = (
    "boat", "bridge", "building", "car", "door", "gate", "horse", "house", "road", "table", "tower",
    "tree", "wall", "window",
)  # fmt: skip
PREPOSITIONS = ("behind", "beside", "near", "with", "without")
SINGULAR = (" is", " was", " has", " does")
PLURAL = (" are", " were", " have", " do")


class SubjectVerbAgreement(TaskGenerator):
    """Subject-verb agreement past a second noun, of either number, between the subject and the verb.

    The right answers are verb forms in the subject's number, the wrong ones are in the other number. In the corrupt
    prompt the subject's number is switched.
    """

    name = "subject-verb-agreement"
    summary = "give the verb the number of its subject, despite a noun in between"
    reference = "Linzen et al. 2016, arXiv 1611.01368; as a circuit task Marks et al. 2024, arXiv 2403.19647"

    def n_pairs(self, tokenizer: Any) -> int:
        """See ``TaskGenerator.n_pairs``: subject and second noun in either number, and a preposition."""
        return 2 * len(_subjects(tokenizer)) * len(PREPOSITIONS) * 2 * len(DISTRACTORS)

    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """See ``TaskGenerator.generate``; only subjects whose both forms are single tokens are used."""
        subjects = _subjects(tokenizer)
        if not subjects:
            raise UsageError(
                f"task {self.name!r} needs nouns whose singular and plural are single tokens, but this "
                f"tokenizer has none of {len(SUBJECTS)}; use another task or prompts of your own"
            )
        pairs = sample_pairs(lambda rng: _write(rng, subjects), n_prompts=n_prompts, seed=seed)
        return encode_task(self.name, pairs, tokenizer, prepend_bos=prepend_bos, limit=n_prompts)


def _subjects(tokenizer: Any) -> list[str]:
    return [s for s in SUBJECTS if len(single_tokens((s, f"{s}s"), tokenizer, after="The")) == 2]


def _write(rng: random.Random, subjects: list[str]) -> PromptPair:
    subject, preposition = rng.choice(subjects), rng.choice(PREPOSITIONS)
    distractor = rng.choice(DISTRACTORS) + rng.choice(("", "s"))
    singular, plural = (f"The {form} {preposition} the {distractor}" for form in (subject, f"{subject}s"))
    if rng.choice((True, False)):
        return PromptPair(singular, plural, SINGULAR, PLURAL)
    return PromptPair(plural, singular, PLURAL, SINGULAR)

"""MIB's indirect object identification."""

from __future__ import annotations

from typing import Any

from eap_plugin.task.mib.base import MibTask, Row, UnusableRowError, first_token, token_ids


class MibIOI(MibTask):
    """Indirect object identification; in the corrupt prompt the other person gives.

    Rows are left out unless both names and the third one of other counterfactuals have equally many tokens.
    """

    name = "mib/ioi"
    summary = "name the person who is given something, not the one who gives"
    dataset = "ioi"
    counterfactual = "s2_io_flip_counterfactual"

    def answers(self, row: Row, tokenizer: Any) -> tuple[int, int]:
        """See ``MibTask.answers``."""
        people = ("indirect_object", "subject", "random_c")
        names = [f" {self.field(row, f'metadata.{person}')}" for person in people]
        if len({len(token_ids(name, tokenizer)) for name in names}) > 1:
            raise UnusableRowError(f"the names{','.join(names)} have different numbers of tokens")
        receiver, giver, _ = names
        return first_token(receiver, tokenizer), first_token(giver, tokenizer)

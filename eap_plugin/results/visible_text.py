"""Text of unknown origin, such as names from files, as it is shown to people."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """Return a text with control and formatting characters written as codes, such as ``\\x1b``; newlines stay."""
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else ascii(char)[1:-1]
        for char in text
    )

"""A hook of MkDocs that turns ``math`` blocks into MathML, which browsers display without a script.

A block holds a formula in LaTeX. GitHub displays such blocks, too.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the formulas of a page."""
    return BLOCK.sub(lambda block: formula(block[1]), markdown)


def formula(latex: str) -> str:
    """Return a formula in LaTeX as HTML, on a line of its own."""
    return f'<div class="formula">{convert(latex, display="block")}</div>'

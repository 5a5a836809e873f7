"""A runner for the code blocks of a page, in order and in one namespace, in the current folder.

``python`` and ``pycon`` blocks are run. ``console`` blocks contain ``eap`` commands with their output. ``sh`` blocks
contain commands to install or to make something, which are checked but not run. Blocks with a title, such as ``json
title=…``, are files that later blocks read. ``math`` blocks are formulas in LaTeX. ``text`` and ``toml`` blocks without
a title are only displayed. Any other language is an error.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from click.testing import CliRunner
from sybil import Document, Example, Region
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from eap_plugin.cli import main

ROOT = Path(__file__).parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
INFO = re.compile(r"(?P<language>[a-z]*)(?: title=\"(?P<title>[^\"]+)\")?[ \t]*$\n", re.MULTILINE)
TARGETS = {
    line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if re.match(r"[a-z0-9-]+:", line)
}


def blocks(document: Document) -> Iterable[Region]:
    """Find every fenced block of a page; this is a Sybil parser."""
    for region in RawFencedCodeBlockLexer(INFO)(document):
        language, title, source = (region.lexemes[name] for name in ("language", "title", "source"))
        if language == "pycon":
            for example in DocTestStringParser(DocTestEvaluator(FLAGS))(source, document.path):
                example.adjust(region, source)
                yield example
            continue
        region.parsed = (title, source) if title else source
        region.evaluator = _write if title else EVALUATORS[language]
        yield region


def run_page(path: Path) -> int:
    """Run a page, and return the number of examples.

    Raises:
        Exception: what a block raises, or AssertionError where the output differs.
    """
    document = Document.parse(str(path), blocks)
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


def _write(example: Example) -> None:
    title, source = example.parsed
    Path(title).parent.mkdir(parents=True, exist_ok=True)
    Path(title).write_text(source)


def _console(example: Example) -> None:
    """Check that each command prints the text after it, up to the next command."""
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", example.parsed, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "eap", f"only eap commands can be run here, got {command!r}"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{command}: {result.output}"
        same = not expected.strip() or doctest.OutputChecker().check_output(expected, result.stdout, FLAGS)
        assert same, f"{command} printed\n{result.stdout}\nexpected\n{expected}"


def _shell(example: Example) -> None:
    """Check commands that only readers can run: their targets and extras must exist."""
    for line in example.parsed.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= TARGETS, f"no such target: {line}"
        elif words:
            assert words[0] in ("pip", "git", "source", "export", "python"), f"cannot be checked: {line}"


def _math(example: Example) -> None:
    """Check that a formula is LaTeX that the pages can display."""
    from latex2mathml.converter import convert  # not in the environments that build no pages

    assert convert(example.parsed.strip(), display="block").startswith("<math ")


EVALUATORS: dict[str, Callable[[Example], str | None]] = {
    "python": PythonEvaluator(),
    "console": _console,
    "sh": _shell,
    "math": _math,
    "mermaid": lambda example: None,
    "text": lambda example: None,
    "toml": lambda example: None,
}

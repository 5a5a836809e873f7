"""Runs the code blocks of a page, in order and in one namespace, in the current folder.

``python`` and ``pycon`` are run, ``console`` holds ``eap`` commands with their output, ``sh`` what readers type to
install or to make (checked, not run), ``json title=…`` and the like are files that later blocks read, and ``text`` and
``toml`` without a title are for the eye. Any other language is an error.
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
    """Every fenced block of a page; a Sybil parser."""
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
    """Run a page; gives the number of examples.

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
    """Each command prints what follows it, up to the next one."""
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", example.parsed, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "eap", f"only eap commands can be run here, got {command!r}"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{command}: {result.output}"
        same = not expected.strip() or doctest.OutputChecker().check_output(expected, result.stdout, FLAGS)
        assert same, f"{command} printed\n{result.stdout}\nexpected\n{expected}"


def _shell(example: Example) -> None:
    """Commands that only their readers can run: targets and extras must be there."""
    for line in example.parsed.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= TARGETS, f"no such target: {line}"
        elif words:
            assert words[0] in ("pip", "git", "source", "export", "python"), f"cannot be checked: {line}"


EVALUATORS: dict[str, Callable[[Example], str | None]] = {
    "python": PythonEvaluator(),
    "console": _console,
    "sh": _shell,
    "mermaid": lambda example: None,
    "text": lambda example: None,
    "toml": lambda example: None,
}

"""Creation of new plugins: copies of the sample distributions under another name."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from eap_plugin.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PACKAGE = Path(__file__).parents[1]
_HOME = next(folder for folder in (_PACKAGE / "samples", _PACKAGE.parent / "examples") if folder.is_dir())
"""The samples' folder, in an installed package or in a checkout."""


@dataclass(frozen=True)
class Sample:
    """A sample distribution.

    Attributes:
        folder: its folder.
        name: its name, which is also the name of its plugin and of what the plugin registers.
        class_name: the prefix of its classes' names.
    """

    folder: str
    name: str
    class_name: str


SAMPLES = {
    "algorithm": Sample("plugin-algorithm", "eap-abs", "EapAbs"),
    "backend": Sample("plugin-backend", "toy-lm", "ToyLM"),
}
"""The samples, by the kind of object that they register."""


def write_plugin(name: str, kind: str, parent: Path) -> Path:
    """Create a distribution called ``name``, with tests, in a new folder in ``parent``, and return that folder.

    Raises:
        UsageError: if the name is not valid for a distribution and its package, or the folder exists already.
    """
    sample, module, folder = SAMPLES[kind], name.replace("-", "_"), parent / name
    _check_new(name, module, folder)
    names = {
        sample.name: name,
        sample.name.replace("-", "_"): module,
        sample.class_name: "".join(part.capitalize() for part in name.split("-")),
    }
    home = _HOME / sample.folder
    for source in sorted(home.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            target = folder / _renamed(str(source.relative_to(home)), names)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(source.read_text(encoding="utf-8"), names), encoding="utf-8")
    return folder


def _check_new(name: str, module: str, folder: Path) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a plugin's name consists of lower-case letters, digits and single '-', such as my-method; got {name!r}"
        )
    if folder.exists():  # first: the module lookup below may find a folder in the current one as a package
        raise UsageError(f"{folder} already exists; choose another name, or remove it first")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or find_spec(module) is not None:
        raise UsageError(
            f"the plugin's package would be called {module}, which is already the name of a module here; "
            "choose another name"
        )


def _renamed(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text

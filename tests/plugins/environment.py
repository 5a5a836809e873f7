"""A virtual environment of its own to install plugins in, which borrows everything heavy from the running one."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLES = {"eap-abs": ROOT / "examples" / "plugin-algorithm", "toy-lm": ROOT / "examples" / "plugin-backend"}
"""The sample distributions, by name."""


class Environment:
    """A fresh environment with ``eap-plugin`` installed from this checkout.

    Packages that it has not are found among the running environment's; what is installed in both is its own.
    """

    def __init__(self, folder: Path) -> None:
        """Make it in ``folder``."""
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        python = f"python{sysconfig.get_python_version()}"
        (folder / "lib" / python / "site-packages" / "lent.pth").write_text(sysconfig.get_paths()["purelib"])
        self.install(ROOT)

    def install(self, *projects: Path) -> None:
        """Build and install distributions; nothing is downloaded."""
        self._pip("install", "--no-deps", "--no-build-isolation", *map(str, projects))

    def uninstall(self, *names: str) -> None:
        """Remove distributions."""
        self._pip("uninstall", "--yes", *names)

    def _pip(self, *args: str) -> None:
        done = self.python("-m", "pip", "--quiet", "--disable-pip-version-check", *args)
        assert done.returncode == 0, done.stderr

    def python(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python, away from this checkout."""
        return self._run("python", *args, **env)

    def eap(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command ``eap``."""
        return self._run("eap", *args, cwd=cwd, **env)

    def json(self, *args: str, **env: str) -> Any:
        """Return what a successful ``eap ARGS --json`` prints."""
        done = self.eap(*args, "--json", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def evaluate(self, code: str, **env: str) -> Any:
        """Return what Python code prints as JSON."""
        done = self.python("-c", code, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pytest(self, tests: Path, *args: str) -> str:
        """Run the tests in a folder, which must pass, and return the last line of output."""
        done = self._run("python", "-m", "pytest", "-p", "no:cacheprovider", *args, cwd=tests)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip().splitlines()[-1]

    def _run(self, program: str, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("EAP_", "PYTEST_", "PYTHON", "PIP_"))}
        return subprocess.run(
            [str(self.folder / "bin" / program), *args],
            cwd=cwd or self.folder,
            env={**clean, "COLUMNS": "200", **env},
            capture_output=True,
            text=True,
            timeout=300,
        )

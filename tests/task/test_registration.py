"""The built-in tasks and formats come through the hooks a stranger would use."""

from __future__ import annotations

import subprocess
import sys

import pluggy

import eap_plugin.task
from eap_plugin.host import hookspecs
from eap_plugin.task.base import TaskFormat, TaskGenerator


def test_hooks_register_tasks_and_formats():
    manager = pluggy.PluginManager("eap_plugin")
    manager.add_hookspecs(hookspecs)
    manager.register(eap_plugin.task)
    tasks: list[TaskGenerator] = []
    formats: list[TaskFormat] = []
    manager.hook.register_tasks(register=tasks.append)
    manager.hook.register_formats(register=formats.append)
    mib = {"ioi", "mcqa", "arc-easy", "arc-challenge", "arithmetic-addition", "arithmetic-subtraction"}
    assert {t.name for t in tasks} == {"ioi", "greater-than", "subject-verb-agreement", *(f"mib/{n}" for n in mib)}
    assert {f.name for f in formats} == {"autocircuit-json", "eap-ig-csv", "prompts-jsonl"}
    assert all(thing.summary and "\n" not in thing.summary for thing in (*tasks, *formats))
    assert all(task.reference for task in tasks)


def test_importing_tasks_and_shipped_models_is_light():
    code = (
        "import sys, eap_plugin.task, eap_plugin.shipped; "
        "heavy = {'torch', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

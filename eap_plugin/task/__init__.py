"""The built-in tasks and task file formats, registered through the same hooks as any plugin's."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.host import hookimpl
from eap_plugin.task.base import TaskFormat, TaskGenerator


@hookimpl
def register_tasks(register: Callable[[TaskGenerator], None]) -> None:
    """Register the tasks that generate their own prompts, and those of MIB."""
    from eap_plugin.task.agreement import SubjectVerbAgreement
    from eap_plugin.task.greater_than import GreaterThan
    from eap_plugin.task.ioi import IOI
    from eap_plugin.task.mib.arithmetic import MibAddition, MibSubtraction
    from eap_plugin.task.mib.ioi import MibIOI
    from eap_plugin.task.mib.multiple_choice import MibArcChallenge, MibArcEasy, MibMCQA

    for task in (
        IOI(),
        GreaterThan(),
        SubjectVerbAgreement(),
        MibIOI(),
        MibMCQA(),
        MibArcEasy(),
        MibArcChallenge(),
        MibAddition(),
        MibSubtraction(),
    ):
        register(task)


@hookimpl
def register_formats(register: Callable[[TaskFormat], None]) -> None:
    """Register the formats of prompt files."""
    from eap_plugin.task.formats.autocircuit import AutoCircuitJson
    from eap_plugin.task.formats.eap_ig import EapIgCsv
    from eap_plugin.task.formats.jsonl import PromptJsonl

    register(AutoCircuitJson())
    register(EapIgCsv())
    register(PromptJsonl())

"""``comfypod doctor``: the checks there are, and the report."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from comfypod.cli.doctor import comfyui, libraries, machine, outside, repository
from comfypod.cli.doctor.finding import Check, Finding, Patient, Status, run_checks
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import printable
from comfypod.cli.reports import print_json, print_styled

CHECKS = (
    Check("python", libraries.python),
    Check("comfypod", libraries.own_version),
    Check("libraries", libraries.base_libraries),
    Check("worker", libraries.worker_libraries),
    Check("emulator", libraries.emulator_libraries),
    Check("gpu", machine.gpu, (OSError, subprocess.SubprocessError), 20),
    Check("torch", comfyui.torch, (OSError, subprocess.SubprocessError), 90),
    Check("settings", repository.settings),
    Check("comfyui", comfyui.comfyui, (OSError, ValueError), 30),
    Check("start", comfyui.start, (OSError, ValueError), 700),
    Check("models", repository.models),
    Check("nodes", repository.nodes),
    Check("templates", repository.templates),
    Check("bucket", outside.bucket, seconds=45),
    Check("endpoint", outside.endpoint, seconds=45),
    Check("ports", machine.ports),
    Check("disk", machine.disk),
    Check("folders", machine.folders),
)

_STYLES: Mapping[Status, str] = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What ``comfypod doctor`` is told: see its ``--help``."""

    endpoint_id: str | None
    base_url: str | None
    needs_bucket: bool
    starts_comfyui: bool


def doctor_command(options: DoctorOptions, *, as_json: bool) -> int:
    """Run the checks, print what they found, and return the exit code: 1 if there are problems."""
    patient = Patient(
        Path(), os.environ, options.endpoint_id, options.base_url, options.needs_bucket, options.starts_comfyui
    )
    findings: list[Finding] = []
    try:
        for finding in run_checks(CHECKS, patient):
            findings.append(finding)
            if not as_json:
                _show(finding)
    finally:  # also where a check has a bug, which is raised at the end
        counts = Counter(finding.status for finding in findings)
        if as_json:
            print_json({"problems": counts["problem"], "findings": [asdict(finding) for finding in findings]})
        else:
            print_styled(Text(_summary(counts["problem"], counts["warning"])))
    return ExitCode.FAILURE if counts["problem"] else ExitCode.SUCCESS


def _show(finding: Finding) -> None:
    head = (f"{finding.status:<8} ", _STYLES[finding.status]), (f"{finding.name:<10} ", "bold")
    print_styled(Text.assemble(*head, printable(finding.sentence)))
    if finding.remedy:
        print_styled(Text(f"{'':<20}{printable(finding.remedy)}", "italic"))


def _summary(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "All is well."
    counts = [(problems, "problem"), (warnings, "warning")]
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count) + "."

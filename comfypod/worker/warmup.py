"""The workflow that runs before the first job, so that the first caller does not wait for its models to load."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from comfypod.errors import ComfyPodError, ConfigurationError, NoOutput
from comfypod.logs import event
from comfypod.schema.template import load_template
from comfypod.schema.workflow import Workflow
from comfypod.settings import Settings
from comfypod.worker.handler import Handler

WARMUP_JOB_ID = "warmup"


def load_warmup(settings: Settings, templates_folder: Path) -> dict[str, Any] | None:
    """The workflow that WARMUP_WORKFLOW names: a template with its defaults, or an API-format file.

    Raises:
        ConfigurationError: there is none of that name, or it is not a workflow.
    """
    name = settings.warmup_workflow
    if name is None:
        return None
    try:
        if Path(name).suffix == ".json":
            return dict(Workflow.parse(json.loads(Path(name).read_text(encoding="utf-8"))).nodes)
        return dict(load_template(templates_folder, name).render({}, lambda _: 0).nodes)
    except (OSError, ValueError, ComfyPodError) as error:
        raise ConfigurationError([f"WARMUP_WORKFLOW {name!r} cannot be used: {error}"]) from error


def run_warmup(handler: Handler, workflow: dict[str, Any]) -> None:
    """Run it as a job whose result nobody takes; one that fails is told, and the worker serves all the same."""
    job_input = {"workflow": workflow, "outputs": {"nodes": []}}
    answer = asyncio.run(handler({"id": WARMUP_JOB_ID, "input": job_input}))
    if answer["status"] != "success" and answer["code"] != NoOutput.code:
        event("warmup_failed", logging.ERROR, code=answer["code"], error=answer["error"])

"""A job that runs nothing: what can be set in its workflow here, and what of it would be refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.checks import check_workflow
from comfypod.comfyui.client import ComfyUI
from comfypod.comfyui.descriptions import NodeDescriber
from comfypod.comfyui.ui_format.conversion import convert_ui_workflow
from comfypod.schema.description import Description
from comfypod.schema.job import JobInput
from comfypod.schema.output import WorkerInfo
from comfypod.schema.workflow import Workflow
from comfypod.storage.models.manifest import ModelManifest
from comfypod.worker.facilities import Facilities
from comfypod.worker.job_state import JobState
from comfypod.worker.outside import Network
from comfypod.worker.preflight import models_by_folder, without_fetched
from comfypod.worker.surroundings import Surroundings
from comfypod.worker.workflows import ui_workflow, unfilled_workflow
from comfypod.worker.workspace import is_of_a_job

FRESH_SECONDS = 5.0
LOOK_SECONDS = 10.0
"""ComfyUI may be too busy with another job to answer; then what is known already will do."""
WITHOUT_EFFECT = ("prompt", "parameters", "files", "once")
"""What callers may believe to matter here."""


class JobDescription:
    """Describes the workflow of one job, whatever runs on the GPU meanwhile.

    What ComfyUI said ``fresh_seconds`` ago is not asked for again, and its answer is waited for ``look_seconds``.

    Raises:
        InvalidJobInput, InvalidWorkflow: there is no such template, or the workflow is not one.
    """

    def __init__(
        self,
        facilities: Facilities,
        network: Network,
        state: JobState,
        request: JobInput,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._facilities = facilities
        self._network = network
        self._state = state
        self._fresh_seconds = fresh_seconds
        self._look_seconds = look_seconds
        self._page = ui_workflow(request)
        # What is wrong with a page's, only a ComfyUI can tell.
        self._plain = None if self._page else unfilled_workflow(request, facilities.templates_folder)
        for name in WITHOUT_EFFECT:
            if getattr(request, name):
                state.warn(f"{name}: ignored, because a description runs nothing")

    async def describe(self, comfyui: ComfyUI) -> tuple[dict[str, Any], WorkerInfo]:
        """The description as JSON, and who made it.

        Raises:
            InvalidWorkflow: what ComfyUI's page saved cannot be converted.
            ComfyUIUnavailable: it does not say what it can run.
            DeadlineExceeded: the job's deadline passed.
        """
        facilities = self._facilities
        async with self._state.deadline.enforce("prepare"):
            surroundings = await self._look(comfyui)
            store = facilities.outside.models(self._network, surroundings, is_own=comfyui.is_own)
            manifest = ModelManifest() if store is None else facilities.outside.manifest
            explain = partial(facilities.packs.explain, failed_imports=comfyui.failed_imports)
            # In a thread: of a document that means harm it takes seconds.
            document = await asyncio.to_thread(self._to_json, surroundings.catalogue, manifest, explain)
        return document, surroundings.worker

    async def _look(self, comfyui: ComfyUI) -> Surroundings:
        """What ComfyUI has now: models come and go."""
        known = self._facilities.surroundings
        surroundings = await known.of(comfyui.http)
        if surroundings.age_seconds > self._fresh_seconds:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await known.catalogue_anew(comfyui.http)
            except TimeoutError:
                self._state.warn(f"ComfyUI is busy; this is what it had {surroundings.age_seconds:.0f} s ago")
        return await known.of(comfyui.http)

    def _to_json(
        self, catalogue: Catalogue, manifest: ModelManifest, explain: Callable[[str], str | None]
    ) -> dict[str, Any]:
        workflow, parameters = self._plain or (self._converted(catalogue), {})
        findings = without_fetched(check_workflow(workflow, catalogue, explain), manifest)
        return Description(
            workflow=workflow.nodes,
            parameters={name: item.model_dump() for name, item in parameters.items()},
            nodes=NodeDescriber(catalogue, models_by_folder(manifest), is_of_a_job).describe(workflow),
            problems=findings.obstacles,
        ).to_json()

    def _converted(self, catalogue: Catalogue) -> Workflow:
        return Workflow.parse(convert_ui_workflow(self._page or {}, catalogue.object_info))

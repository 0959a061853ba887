"""One run of a job on one ComfyUI: prepared, executed, delivered, and nothing of it left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from comfypod.comfyui.checks import Findings, check_workflow
from comfypod.comfyui.client import ComfyUI, PromptOptions
from comfypod.comfyui.outputs import OutputFile, PromptResult, collect_outputs
from comfypod.errors import NoOutput, PromptFailed, PromptRejected
from comfypod.schema.output import Outputs, WorkerInfo
from comfypod.schema.workflow import Workflow
from comfypod.worker.delivery import Delivery, select
from comfypod.worker.facilities import Facilities
from comfypod.worker.inputs import InputPlacer, InputSources
from comfypod.worker.isolation import (
    files_in_lists,
    saving_node,
    unused_files,
    with_own_inputs,
    with_own_outputs,
)
from comfypod.worker.job_state import AcceptedJob
from comfypod.worker.outside import Network
from comfypod.worker.preflight import entries_of, fetch_all, named_models, refuse_obstacles
from comfypod.worker.surroundings import Surroundings
from comfypod.worker.workflows import convert_workflow, ui_workflow
from comfypod.worker.workspace import Workspace


class JobRun:
    """Runs one job once; for another try there is another one."""

    def __init__(self, facilities: Facilities, network: Network, job: AcceptedJob) -> None:
        self._facilities = facilities
        self._network = network
        self._job = job
        self._state = job.state
        self._request = job.request
        self._tracker = job.tracker

    async def run(self, comfyui: ComfyUI) -> tuple[Outputs, WorkerInfo]:
        """What the job hands over, and who made it."""
        workflow = self._job.workflow
        async with AsyncExitStack() as stack:
            async with self._state.deadline.enforce("prepare"):
                surroundings = await self._facilities.surroundings.of(comfyui.http)
                if workflow is None:
                    # In a thread: of a document that means harm it takes seconds.
                    draw = self._state.draw_seed
                    workflow = await asyncio.to_thread(convert_workflow, self._request, surroundings.catalogue, draw)
                    self._tracker.replace_workflow(workflow)
                findings = await self._check(stack, comfyui, workflow, surroundings)
                stack.enter_context(self._facilities.sweeper.job(surroundings.local if comfyui.is_own else None))
                workspace = stack.enter_context(Workspace(self._state.job_id, surroundings.local))
                workflow = await self._place(comfyui, workflow, surroundings, workspace)
            result = await self._execute(comfyui, workflow, workspace, findings)
            return await self._deliver(comfyui, workflow, workspace, result), surroundings.worker

    async def _check(
        self, stack: AsyncExitStack, comfyui: ComfyUI, workflow: Workflow, surroundings: Surroundings
    ) -> Findings:
        """See that the workflow can run here, and have its models fetched where that is needed."""
        packs, outside = self._facilities.packs, self._facilities.outside

        def explain(class_type: str) -> str | None:
            return packs.explain(class_type, comfyui.failed_imports)

        store = outside.models(self._network, surroundings)
        if store is not None:
            await stack.enter_async_context(store.using(named_models(workflow, outside.manifest)))
        findings = check_workflow(workflow, surroundings.catalogue, explain)
        if not findings.obstacles and not findings.missing_models:
            return findings
        # What was learned may be out of date.
        findings = check_workflow(workflow, await self._facilities.surroundings.catalogue_anew(comfyui.http), explain)
        entries = entries_of(findings.missing_models, outside.manifest)
        if store is not None and entries and not findings.unknown_classes:
            await fetch_all(list(entries), store, self._state.deadline, self._tracker.tell)
            catalogue = await self._facilities.surroundings.catalogue_anew(comfyui.http)
            findings = check_workflow(workflow, catalogue, explain)
        refuse_obstacles(findings)
        return findings

    async def _place(
        self, comfyui: ComfyUI, workflow: Workflow, surroundings: Surroundings, workspace: Workspace
    ) -> Workflow:
        """Bring the job's files, and let the workflow name its own files only."""
        settings, outside = self._facilities.settings, self._facilities.outside
        files = self._request.files
        workflow = with_own_outputs(workflow, workspace.folder, surroundings.catalogue)
        sources = InputSources(
            self._network.downloader, outside.bucket, settings.maximum_input_bytes, settings.maximum_image_pixels
        )
        placer = InputPlacer(sources, comfyui.http, workspace, self._state.deadline)
        flat = files_in_lists(workflow, surroundings.catalogue, frozenset(file.name for file in files))
        names = await placer.place(files, flat)
        for name in unused_files(workflow, names):
            self._state.warn(f"files: no node names {name!r}")
        return with_own_inputs(workflow, names)

    async def _execute(
        self, comfyui: ComfyUI, workflow: Workflow, workspace: Workspace, findings: Findings
    ) -> PromptResult:
        self._tracker.enter("queue")
        try:
            result = await comfyui.run(workflow, self._state.deadline, self._tracker.receive, self._options())
        except PromptRejected as error:
            hints = {f"{item.node_id}.{item.input_name}": item.sentence for item in findings.missing}
            raise replace(error, hints=hints) from error
        except PromptFailed as error:
            left = collect_outputs(error.history, workflow)
            workspace.add_outputs(left.files)
            if self._request.allow_partial:
                self._state.kept = await self._keep(comfyui, workflow, workspace, left)
            raise
        workspace.add_outputs(result.files)
        if result.node_errors:
            self._state.warn(str(PromptRejected({}, result.node_errors)).replace("the workflow", "a part of it", 1))
        return result

    async def _keep(self, comfyui: ComfyUI, workflow: Workflow, workspace: Workspace, left: PromptResult) -> Outputs:
        """What a prompt that failed had saved before, of a job that asked for it."""
        try:
            return await self._deliver(comfyui, workflow, workspace, left)
        except NoOutput:
            return Outputs()

    async def _deliver(
        self, comfyui: ComfyUI, workflow: Workflow, workspace: Workspace, result: PromptResult
    ) -> Outputs:
        self._tracker.enter("deliver")
        result = replace(result, files=[*result.files, *_unreported(workflow, workspace, result)])
        files, texts = select(result, self._request.outputs)
        delivery = Delivery(self._state.job_id, self._job.ways, workspace, self._state.deadline)
        async with self._state.deadline.enforce("deliver"):
            artifacts = await delivery.deliver(comfyui.http, workflow, files, self._request.outputs, texts)
        for warning in delivery.warnings:
            self._state.warn(warning)
        return Outputs(artifacts, texts)

    def _options(self) -> PromptOptions:
        key = self._request.comfy_org_api_key or self._facilities.settings.comfy_org_api_key
        document: Mapping[str, Any] | None = ui_workflow(self._request)
        return PromptOptions(
            previews=self._request.progress.previews,
            comfy_org_api_key=key.get_secret_value() if key else None,
            allow_partial=self._request.allow_partial,
            ui_workflow=document,
        )


def _unreported(workflow: Workflow, workspace: Workspace, result: PromptResult) -> list[OutputFile]:
    """Files that were saved and that no node told of, as output files of the node whose prefix they have."""
    files: list[OutputFile] = []
    for path in workspace.unreported(result.files):
        node_id = saving_node(workflow, path.as_posix())
        index = sum(file.node_id == node_id for file in [*result.files, *files])
        folder = path.parent.as_posix()
        files.append(OutputFile(node_id, index, path.name, "" if folder == "." else folder, "output"))
    return files

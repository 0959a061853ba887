"""One run of a job on one ComfyUI: prepared, executed, delivered, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.checks import Findings, check_workflow
from comfypod.comfyui.client import ComfyUI, PromptOptions
from comfypod.comfyui.outputs import OutputFile, PromptResult, collect_outputs
from comfypod.comfyui.protocol import Event
from comfypod.errors import (
    ComfyPodError,
    ComfyUIUnavailable,
    NoOutput,
    PromptFailed,
    PromptInterrupted,
    PromptLost,
    PromptRejected,
    PromptStalled,
)
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
from comfypod.worker.recovery import Recovery
from comfypod.worker.slot import GPUSlot
from comfypod.worker.surroundings import Surroundings
from comfypod.worker.workflows import convert_workflow, ui_workflow
from comfypod.worker.workspace import Workspace

SPARE_BYTES = 4096
"""Of the answer, for warnings that the delivery itself may have, and for who made it."""


class JobRun:
    """Runs one job; again, if that is needed. ``recovery`` is what calls `run` so often, ``slot`` the worker's."""

    def __init__(
        self, facilities: Facilities, network: Network, job: AcceptedJob, recovery: Recovery, slot: GPUSlot
    ) -> None:
        self._recovery = recovery
        self._slot = slot
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
                is_alone = comfyui.is_own and not self._facilities.settings.comfyui_shared
                swept = surroundings.local if is_alone else None
                await stack.enter_async_context(self._facilities.sweeper.job(swept))
                workspace = await stack.enter_async_context(Workspace(self._state.job_id, surroundings.local))
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

        def compared(catalogue: Catalogue) -> Awaitable[Findings]:
            return asyncio.to_thread(check_workflow, workflow, catalogue, explain)

        store = outside.models(self._network, surroundings, is_own=comfyui.is_own)
        if store is not None:
            await stack.enter_async_context(store.using(named_models(workflow, outside.manifest)))
        findings = await compared(surroundings.catalogue)
        if not findings.obstacles and not findings.missing_models:
            return findings
        # What was learned may be out of date.
        findings = await compared(await self._facilities.surroundings.catalogue_anew(comfyui.http))
        entries = entries_of(findings.missing_models, outside.manifest)
        if store is not None and entries and not findings.unknown_classes:
            await fetch_all(list(entries), store, self._state.deadline, self._tracker.tell)
            findings = await compared(await self._facilities.surroundings.catalogue_anew(comfyui.http))
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
        try:
            result = await self._take_turn(comfyui, workflow)
        except PromptRejected as error:
            hints = {f"{item.node_id}.{item.input_name}": item.sentence for item in findings.missing}
            raise replace(error, hints=hints) from error
        except PromptFailed as error:
            left = collect_outputs(error.history, workflow)
            workspace.add_outputs(left.files)
            if self._request.allow_partial and not self._recovery.runs_again(error):
                await self._keep(comfyui, workflow, workspace, left)
            raise
        workspace.add_outputs(result.files)
        if result.node_errors:
            self._state.warn(str(PromptRejected({}, result.node_errors)).replace("the workflow", "a part of it", 1))
        return result

    async def _take_turn(self, comfyui: ComfyUI, workflow: Workflow) -> PromptResult:
        """Run the workflow when its turn comes; when this returns it is the next one's."""
        deadline, tracker = self._state.deadline, self._tracker
        tracker.enter("queue")
        async with self._slot.turn(self._job.arrival, deadline) as turn:
            self._recovery.check_alive()

            def receive(item: Event) -> None:
                tracker.receive(item)
                if tracker.stage == "execute":
                    turn.start()

            try:
                return await comfyui.run(workflow, deadline, receive, self._options())
            except PromptFailed as error:
                self._recovery.check_gpu(error, is_first=turn.is_first)
                raise
            except (ComfyUIUnavailable, PromptInterrupted, PromptLost):
                if turn.came_behind:
                    self._recovery.excuse()
                raise
            except PromptStalled:
                if turn.came_behind and not turn.is_running:
                    self._recovery.excuse()
                raise

    async def _keep(self, comfyui: ComfyUI, workflow: Workflow, workspace: Workspace, left: PromptResult) -> None:
        """Deliver what a prompt that failed had saved before; that it failed stays what is told."""
        try:
            self._state.kept = await self._deliver(comfyui, workflow, workspace, left)
        except ComfyPodError as error:
            self._state.warn(f"What was saved before the failure could not be delivered: {error}")

    async def _deliver(
        self, comfyui: ComfyUI, workflow: Workflow, workspace: Workspace, result: PromptResult
    ) -> Outputs:
        self._tracker.enter("deliver")
        try:
            files, texts = select(_with_unreported(workflow, workspace, result), self._request.outputs)
        except NoOutput as error:
            if not self._request.allow_partial:
                raise
            self._state.warn(str(error))
            return Outputs()
        network, state = self._network, self._state
        delivery = Delivery(state.job_id, self._job.ways, workspace, state.deadline, network.conversions)
        others = [Outputs((), texts).to_json(), state.account().to_json()]
        other_bytes = len(json.dumps(others, ensure_ascii=False).encode()) + SPARE_BYTES
        async with state.deadline.enforce("deliver"):
            artifacts = await delivery.deliver(comfyui.http, workflow, files, self._request.outputs, other_bytes)
        for warning in delivery.warnings:
            state.warn(warning)
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


def _with_unreported(workflow: Workflow, workspace: Workspace, result: PromptResult) -> PromptResult:
    """The result with files that no node told of, as those of the node whose prefix they have; in the nodes' order."""
    files = list(result.files)
    for path in workspace.unreported(result.files):
        node_id = saving_node(workflow, path.as_posix())
        index = sum(file.node_id == node_id for file in files)
        folder = path.parent.as_posix()
        files.append(OutputFile(node_id, index, path.name, "" if folder == "." else folder, "output"))
    position = {node_id: number for number, node_id in enumerate(workflow.nodes)}
    files.sort(key=lambda file: position.get(file.node_id, len(position)))
    return replace(result, files=files)

"""Before the GPU is touched: can this ComfyUI run the workflow, and are its models here? What can be fetched is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from comfypod.comfyui.checks import Findings, MissingChoice
from comfypod.deadline import Deadline
from comfypod.errors import InvalidWorkflow
from comfypod.schema.workflow import Workflow
from comfypod.storage.models.manifest import ModelEntry, ModelManifest
from comfypod.storage.models.progress import ModelProgress
from comfypod.storage.models.store import ModelStore

Tell = Callable[[str], None]


def named_models(workflow: Workflow, manifest: ModelManifest) -> list[str]:
    """Keys of the entries of ``models.toml`` whose files the workflow names; present or not."""
    texts = {text.replace("\\", "/") for _, _, text in workflow.texts()}
    return [entry.key for entry in manifest.entries if entry.name in texts]


def entries_of(missing: Sequence[MissingChoice], manifest: ModelManifest) -> dict[str, ModelEntry]:
    """What ``models.toml`` knows of the missing models, by key: of that name, and for that loader's folder."""
    return {
        entry.key: entry
        for item in missing
        for entry in manifest.entries
        if entry.name == item.value.replace("\\", "/") and item.folder in {None, entry.folder}
    }


def without_fetched(findings: Findings, manifest: ModelManifest) -> Findings:
    """The findings that remain when every model that ``models.toml`` knows has been fetched."""
    return replace(findings, missing=[item for item in findings.missing if not entries_of([item], manifest)])


def models_by_folder(manifest: ModelManifest) -> dict[str, list[str]]:
    """The names of all models of ``models.toml`` by ComfyUI's folder."""
    found: dict[str, list[str]] = {}
    for entry in manifest.entries:
        found.setdefault(entry.folder, []).append(entry.name)
    return found


def refuse_obstacles(findings: Findings) -> None:
    """Raise `InvalidWorkflow` for what ComfyUI would refuse for certain; every obstacle is named."""
    if findings.obstacles:
        raise InvalidWorkflow("The workflow cannot run here", problems=findings.obstacles)


async def fetch_all(keys: Sequence[str], store: ModelStore, deadline: Deadline, tell: Tell) -> None:
    """Fetch these model files.

    Raises:
        ModelFetchFailed: one of them cannot be had; the others are there.
        DeadlineExceeded: there was no time for all.
    """

    def on_progress(progress: ModelProgress) -> None:
        tell(f"Fetching {progress.message}")

    failures = await store.fetch_all(keys, deadline, on_progress)
    for failure in failures.values():
        raise failure

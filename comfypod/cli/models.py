"""``comfypod models …``: the model files of ``models.toml``, from the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Column, Table
from rich.text import Text

from comfypod.cli.display import printable
from comfypod.cli.exit_codes import ExitCode
from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.models.additions import Wishes, describe, to_toml
from comfypod.storage.models.files import LocalModel, ModelFolders
from comfypod.storage.models.manifest import ModelManifest
from comfypod.storage.models.progress import ModelProgress, format_bytes
from comfypod.storage.models.sources import ModelSources
from comfypod.storage.models.store import ModelStore
from comfypod.storage.safe_http import SafeHTTP

LOOK_UP_SECONDS = 120.0
PIPED_WIDTH = 250


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which manifest, and which folder the files are in (``directory``: one folder per kind)."""

    models_toml: Path
    directory: Path | None

    def settings(self) -> Settings:
        """The settings of the environment."""
        return Settings.from_environment(os.environ)

    def folder(self, settings: Settings) -> Path:
        """``--directory``, else MODELS_DIRECTORY, else the checkout's own folder."""
        return self.directory or Path(settings.models_directory or "ComfyUI/models")


def list_models(options: ModelOptions, *, as_json: bool) -> int:
    """Print what there is to be, and what is there."""
    manifest = ModelManifest.from_file(options.models_toml)
    folders = ModelFolders.below([options.folder(options.settings())], manifest)
    models = [folders.look(entry) for entry in manifest.entries]
    if as_json:
        print(json.dumps([_row(model) for model in models], indent=2))
        return 0
    table = Table(Column("name", overflow="fold"), "folder", Column("size", justify="right"), "when", "here")
    for model in models:
        size_bytes = model.size_bytes or model.entry.size_bytes
        size = "" if size_bytes is None else format_bytes(size_bytes)
        when = f"{model.entry.when}, pinned" if model.entry.pinned else model.entry.when
        table.add_row(*map(Text, (model.entry.name, model.entry.folder, size, when, model.status)))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
    return 0


def _row(model: LocalModel) -> dict[str, Any]:
    entry = model.entry
    return {
        "name": entry.name,
        "folder": entry.folder,
        "when": entry.when,
        "pinned": entry.pinned,
        "status": model.status,
        "path": str(model.path),
        "size_bytes": model.size_bytes or entry.size_bytes,
        "sha256": entry.sha256 or (model.record.sha256 if model.record else None),
        "fetched_here": model.record is not None,
    }


def fetch_models(options: ModelOptions, names: Sequence[str], when: str | None, timeout_seconds: float) -> int:
    """Fetch some; the paths go to stdout, every failure to stderr."""

    async def fetch(store: ModelStore, console: Console) -> int:
        wanted = [store.manifest.entry(name).key for name in names]
        wanted += [entry.key for entry in store.manifest.entries if when in {"all", entry.when}]
        with _ProgressDisplay(console) as display:
            failures = await store.fetch_all(wanted, Deadline.after(timeout_seconds), display.show)
        for name in dict.fromkeys(wanted):
            if name in failures:
                console.print(Text(printable(f"{failures[name].code}: {failures[name]}")), soft_wrap=True)
            else:
                print(await store.fetch(name, Deadline.after(timeout_seconds)))
        return 1 if failures else 0

    return _run(options, fetch)


def verify_models(options: ModelOptions, names: Sequence[str]) -> int:
    """Hash what is there, and say of each file whether it is right; those that are missing count only if named."""

    async def verify(store: ModelStore, console: Console) -> int:
        there = [model.entry.key for model in store.state() if model.size_bytes is not None]
        wanted = [store.manifest.entry(name).key for name in names] or there
        wrong = 0
        for name in wanted:
            with _ProgressDisplay(console) as display:
                found = await store.verify(name, display.show)
            unknown = "not known what it should be" if found.expected_sha256 is None else "ok"
            print(printable(f"{name}: {found.problem or unknown}"))
            wrong += found.problem is not None
        return 1 if wrong else 0

    return _run(options, verify)


def add_model(options: ModelOptions, source: str, wishes: Wishes, *, print_only: bool) -> int:
    """Ask the source, print the entry, and append it to the manifest."""
    manifest = ModelManifest.from_file(options.models_toml) if options.models_toml.exists() else ModelManifest()

    async def look_up() -> str:
        async with _http(options.settings()) as http:
            entry = await describe(source, wishes, ModelSources(http, os.environ), Deadline.after(LOOK_UP_SECONDS))
        if any(other.key.casefold() == entry.key.casefold() for other in manifest.entries):
            raise ConfigurationError([f"{options.models_toml} has a model {entry.key!r} already."])
        if entry.sha256 is None:
            print("The source tells no SHA-256; `comfypod models fetch` notes it with the file.", file=sys.stderr)
        return to_toml(entry)

    text = asyncio.run(look_up())
    print(text, end="")
    if not print_only:
        _append(options.models_toml, text)
    return 0


def _append(path: Path, text: str) -> None:
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "\n" if before.endswith("\n") else "\n\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write((gap if before else "") + text)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be written ({error.strerror})."]) from error


def _run(options: ModelOptions, work: Callable[[ModelStore, Console], Awaitable[int]]) -> int:
    console = Console(stderr=True)

    async def run() -> int:
        async with _store(options) as store:
            return await work(store, console)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        console.print("Interrupted; what was fetched so far is kept.")
        return ExitCode.INTERRUPTED


@asynccontextmanager
async def _store(options: ModelOptions) -> AsyncIterator[ModelStore]:
    settings = options.settings()
    manifest = ModelManifest.from_file(options.models_toml)
    async with _http(settings) as http:
        yield ModelStore(
            manifest,
            ModelFolders.below([options.folder(settings)], manifest),
            http,
            os.environ,
            budget_bytes=settings.models_disk_budget_bytes,
            hub_fast_path=not (settings.download_allowed_hosts or settings.download_denied_hosts),
        )


def _http(settings: Settings) -> SafeHTTP:
    return SafeHTTP(AddressPolicy.from_lists(settings.download_allowed_hosts, settings.download_denied_hosts))


class _ProgressDisplay:
    """A bar per model on a terminal; elsewhere a line when a model comes to its next stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[stage]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stages: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, progress: ModelProgress) -> None:
        """Show how far a model is."""
        if progress.model not in self._tasks:
            self._tasks[progress.model] = self._bars.add_task(progress.model, total=None, stage="")
        self._bars.update(
            self._tasks[progress.model],
            completed=progress.received_bytes,
            total=progress.total_bytes,
            stage="another worker is downloading it" if progress.stage == "waiting" else progress.stage,
        )
        if not self._console.is_terminal and self._stages.get(progress.model) != progress.stage:
            self._stages[progress.model] = progress.stage
            self._console.print(Text(progress.message), soft_wrap=True)

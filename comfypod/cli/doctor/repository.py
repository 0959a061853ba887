"""Checks of what lies in the repository: settings, models.toml and its files, nodes.toml, templates."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from comfypod.cli.doctor.finding import Finding, Patient
from comfypod.cli.pack_folders import NODES_TOML, pack_folder
from comfypod.cli.settings_view import misspelt, settings_problems
from comfypod.cli.workflow.document import TEMPLATES_FOLDER
from comfypod.cli.workflow.templates import template_problems
from comfypod.comfyui.node_packs import NodePacks
from comfypod.errors import ConfigurationError, InvalidJobInput
from comfypod.schema.template import DEFAULT_TEMPLATE, load_template
from comfypod.schema.wire import listed
from comfypod.storage.models.files import LocalModel, ModelFolders
from comfypod.storage.models.manifest import ModelManifest
from comfypod.storage.models.progress import format_bytes

_WRONG = ("wrong size", "outdated")


def settings(patient: Patient) -> Finding:
    """Whether a worker would start with the settings of the environment."""
    wrong, others = settings_problems(patient.environment)
    if problems := [*wrong.values(), *others]:
        return Finding("settings", "problem", " ".join(problems), "All settings: comfypod settings")
    if hints := dict(misspelt(patient.environment)):
        sentence = "; ".join(f"{name} is not read, {hint}" for name, hint in hints.items())
        return Finding("settings", "warning", sentence, "All settings: comfypod settings")
    return Finding("settings", "ok", "The worker's settings are valid")


def models(patient: Patient) -> Finding:
    """Which files of ``models.toml`` are here, and whether there is room for the others."""
    path = patient.root / "models.toml"
    if not path.exists():
        return Finding("models", "note", "There is no models.toml here; nothing is fetched")
    manifest = ModelManifest.from_file(path)
    directory = Path(patient.environment.get("MODELS_DIRECTORY", "").strip() or patient.root / "ComfyUI" / "models")
    folders = ModelFolders.below([directory], manifest)
    found = [folders.look(entry) for entry in manifest.entries]
    counts = Counter(model.status for model in found)
    sentence = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none are named"
    sentence = f"models.toml and {directory}: {sentence}"
    if wrong := [model for model in found if model.status in _WRONG]:
        names = listed(model.entry.key for model in wrong)
        remedy = "See which: comfypod models list; bring them anew: comfypod models fetch NAME"
        return Finding("models", "problem", f"{sentence} ({names})", remedy)
    return _with_room(sentence, [model for model in found if model.status != "present"], directory)


def _with_room(sentence: str, absent: list[LocalModel], directory: Path) -> Finding:
    if not absent:
        return Finding("models", "ok", sentence)
    wanted_bytes = sum(model.entry.size_bytes or 0 for model in absent)
    unknown = sum(model.entry.size_bytes is None for model in absent)
    existing = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    free_bytes = shutil.disk_usage(existing).free
    sizes = [format_bytes(wanted_bytes)] if wanted_bytes else []
    sizes += [f"{unknown} of unknown size"] if unknown else []
    sentence = f"{sentence}; to fetch: {' and '.join(sizes)}, free: {format_bytes(free_bytes)}"
    if wanted_bytes > free_bytes:
        remedy = "Make room, set MODELS_DIRECTORY to a larger disk, or bound them by MODELS_DISK_BUDGET_BYTES."
        return Finding("models", "problem", sentence, remedy)
    return Finding("models", "note", sentence, "Jobs fetch what they need; to bring it now: comfypod models fetch NAME")


def nodes(patient: Patient) -> Finding:
    """Whether ``nodes.toml`` is valid, and its packs are here, where a checkout is."""
    packs = NodePacks.load(patient.root / NODES_TOML).pack
    missing = [pack.name for pack in packs if pack_folder(pack, patient.root) is None]
    sentence = f"{NODES_TOML} is valid; packs in it: {len(packs)}"
    if missing and (patient.root / "ComfyUI" / "main.py").is_file():
        remedy = "Bring them: comfypod nodes install"
        return Finding("nodes", "warning", f"{sentence}; not here: {listed(missing)}", remedy)
    return Finding("nodes", "ok", sentence)


def templates(patient: Patient) -> Finding:
    """Whether every file in ``workflows/`` is a template that can be filled in."""
    folder = patient.root / TEMPLATES_FOLDER
    names = sorted(path.stem for path in folder.glob("*.json"))
    problems: list[str] = []
    for name in names:
        try:
            problems += [f"{name}: {problem}" for problem in template_problems(load_template(folder, name))]
        except (ConfigurationError, InvalidJobInput) as error:
            problems += [f"{name}: {error}"]
    if problems:
        remedy = "Look at one: comfypod workflow check NAME"
        return Finding("templates", "problem", "; ".join(problems), remedy)
    if DEFAULT_TEMPLATE not in names:
        sentence = f"There is no {TEMPLATES_FOLDER}/{DEFAULT_TEMPLATE}.json: jobs with a prompt alone are refused here"
        return Finding("templates", "note", sentence)
    return Finding("templates", "ok", f"{listed(names)}: valid")

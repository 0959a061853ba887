"""``comfypod workflow check``: what a worker would say to a job, found out with what the worker itself asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.node_catalogue import NodeSource, find_node_source
from comfypod.cli.reports import print_json, print_line
from comfypod.cli.workflow.document import KIND_NAMES, Document, read_document
from comfypod.cli.workflow.rules import find_rejection
from comfypod.cli.workflow.templates import template_problems
from comfypod.comfyui.catalogue import Catalogue, reachable
from comfypod.comfyui.checks import check_workflow
from comfypod.comfyui.node_packs import NodePacks
from comfypod.errors import (
    ComfyPodError,
    ConfigurationError,
    InputError,
    InvalidJobInput,
    InvalidWorkflow,
    NoOutput,
    PromptRejected,
)
from comfypod.schema.job import JobInput
from comfypod.schema.template import load_template
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import Workflow
from comfypod.storage.models.manifest import ModelEntry, ModelManifest
from comfypod.storage.models.progress import format_bytes
from comfypod.worker.isolation import unused_files, with_own_inputs, with_own_outputs
from comfypod.worker.preflight import entries_of, named_models, refuse_obstacles, without_fetched
from comfypod.worker.workflows import build_workflow, convert_workflow, ui_workflow

_JOB_FOLDER = "job"
_SENT = "\0sent"
"""Stands for the name of a file that goes along: no file can be called so."""
_PREVIEWS = frozenset({"PreviewImage", "PreviewAudio", "MaskPreview"})
"""Output nodes that write temporary files only, which a job does not return unless it asks for them."""
_NOTHING_VALID = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
_WHEN = {"build": "it is in the image", "boot": "a worker fetches it when it starts", "demand": "a worker fetches it"}


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the check compares with: node classes, the packs of ``nodes.toml``, the models of ``models.toml``."""

    source: NodeSource
    packs: NodePacks
    manifest: ModelManifest

    @classmethod
    def here(cls, comfyui_url: str | None, root: Path = Path()) -> Knowledge:
        """That of the repository at ``root``.

        Raises:
            ConfigurationError, ComfyUIUnavailable, ProtocolViolation: see `find_node_source`.
        """
        models = root / "models.toml"
        manifest = ModelManifest.from_file(models) if models.exists() else ModelManifest()
        packs = NodePacks.load(root / "custom_nodes" / "nodes.toml")
        return cls(find_node_source(comfyui_url, models), packs, manifest)


@dataclass(slots=True)
class Report:
    """What was found. ``refusal`` is the error with which the worker would answer; None: it would run the job."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)
    refusal: ComfyPodError | None = None
    nodes: int | None = None

    def refuse(self, error: ComfyPodError, problems: Sequence[str]) -> None:
        """Note problems; the worker ends with the first error."""
        self.problems += [problem for problem in problems if problem not in self.problems]
        self.refusal = self.refusal or error


def check_command(given: str, comfyui_url: str | None, *, as_json: bool) -> int:
    """Check a file, print what was found, and return the exit code."""
    try:
        document = read_document(given)
    except InputError as error:
        report = Report()
        report.refuse(error, _problems_of(error))
        _show(given, None, None, report, as_json=as_json)
        return ExitCode.USAGE
    knowledge = Knowledge.here(comfyui_url)
    report = check_document(document, knowledge)
    _show(given, document, knowledge.source, report, as_json=as_json)
    return ExitCode.USAGE if report.problems else ExitCode.SUCCESS


def check_document(document: Document, knowledge: Knowledge) -> Report:
    """What a worker would say, in the order in which it would find it."""
    report = Report()
    try:
        request = JobInput.parse(document.job_input)
        report.warnings += request.warnings()
        workflow = _build(document, request, knowledge)
    except (InputError, ConfigurationError) as error:
        report.refuse(error, _problems_of(error))
        return report
    report.nodes = len(workflow.nodes)
    _compare(workflow, knowledge, report)
    sent = _isolate(workflow, knowledge, report)
    _check_files(document, workflow, request, knowledge, report)
    _apply_rules(sent, request, knowledge, report)
    return report


def _build(document: Document, request: JobInput, knowledge: Knowledge) -> Workflow:
    if ui_workflow(request) is not None:
        return convert_workflow(request, knowledge.source.catalogue, _draw)
    if document.kind == "template":
        template = load_template(document.templates_folder, document.path.stem)
        if problems := template_problems(template):
            raise InvalidWorkflow(f"The template {template.name!r} cannot be filled in", problems=problems)
    return build_workflow(request, document.templates_folder, _draw)


def _draw(_name: str) -> int:
    """A seed; which one makes no difference to any check."""
    return 0


def _compare(workflow: Workflow, knowledge: Knowledge, report: Report) -> None:
    """Classes, choices and models, as the worker compares them before anything is sent."""
    catalogue, manifest = knowledge.source.catalogue, knowledge.manifest
    findings = check_workflow(workflow, catalogue, lambda name: knowledge.packs.explain(name, {}))
    remaining = without_fetched(findings, manifest)
    # With an unknown class the worker fetches nothing, and its sentence names what is missing as well.
    told = findings if findings.unknown_classes else remaining
    try:
        refuse_obstacles(told)
    except InvalidWorkflow as error:
        report.refuse(error, remaining.obstacles)
    report.warnings += [item.sentence for item in remaining.missing if not item.is_certain]
    if knowledge.source.is_engine:  # it pretends to have what models.toml names
        entries = [manifest.entry(key) for key in named_models(workflow, manifest)]
    else:
        entries = list(entries_of(findings.missing_models, manifest).values())
    report.fetches += [_fetch_sentence(entry) for entry in entries]


def _fetch_sentence(entry: ModelEntry) -> str:
    size = f", {format_bytes(entry.size_bytes)}" if entry.size_bytes else ""
    return f"{entry.key} is in models.toml: {_WHEN[entry.when]} ({entry.source}{size})"


def _isolate(workflow: Workflow, knowledge: Knowledge, report: Report) -> Workflow:
    """The workflow as the worker sends it, below the job's own folders."""
    try:
        return with_own_outputs(workflow, _JOB_FOLDER, knowledge.source.catalogue)
    except InvalidWorkflow as error:
        report.refuse(error, [str(error)])
        return workflow


def _check_files(
    document: Document, workflow: Workflow, request: JobInput, knowledge: Knowledge, report: Report
) -> None:
    """Files that nodes load and nobody sends; and files that are sent and nobody loads."""
    names = {file.name: _SENT for file in request.files}
    missing = list(_missing_files(with_own_inputs(workflow, names), knowledge.source.catalogue))
    if missing and document.kind == "job":
        sentences = [f"{file.where} is not among the job's files" for file in missing]
        report.refuse(PromptRejected(_NOTHING_VALID, _invalid_files(missing)), sentences)
    else:  # of a workflow alone nobody knows yet what will be sent with it
        report.warnings += [f"{file.where} must be sent along (--file)" for file in missing]
    report.warnings += [f"files: no node names {name!r}" for name in unused_files(workflow, names)]


@dataclass(frozen=True, slots=True)
class _MissingFile:
    """An input that names a file of the input folder that will not be there."""

    node_id: str
    class_type: str
    input_name: str
    value: str

    @property
    def where(self) -> str:
        """What names it, for the beginning of a sentence."""
        return f"node {shortened(self.node_id)} ({self.class_type}): {self.input_name} {shortened(self.value)!r}"


def _missing_files(workflow: Workflow, catalogue: Catalogue) -> Iterator[_MissingFile]:
    wanted = set(reachable(workflow.nodes, catalogue))
    for node_id, name, text in workflow.texts():
        class_type = workflow.class_type(node_id) or ""
        item = catalogue.inputs(class_type).get(name)
        if node_id in wanted and item is not None and item.is_upload and text not in (*(item.choices or ()), _SENT):
            yield _MissingFile(node_id, class_type, name, text)


def _invalid_files(missing: Sequence[_MissingFile]) -> dict[str, Any]:
    """The ``node_errors`` of ComfyUI's loaders (``nodes.py: LoadImage.VALIDATE_INPUTS``, and those like it)."""
    return {
        file.node_id: {
            "class_type": file.class_type,
            "errors": [
                {
                    "type": "custom_validation_failed",
                    "message": "Custom validation failed for node",
                    "details": f"{file.input_name} - Invalid {_file_word(file.input_name)} file: {file.value}",
                }
            ],
        }
        for file in missing
    }


def _file_word(input_name: str) -> str:
    """What a loader calls its file: LoadVideo's input is called ``file``."""
    return "video" if input_name == "file" else input_name


def _apply_rules(workflow: Workflow, request: JobInput, knowledge: Knowledge, report: Report) -> None:
    """What ComfyUI would refuse, and what would leave nothing to deliver."""
    catalogue = knowledge.source.catalogue
    rejection = find_rejection(workflow, catalogue)
    report.warnings += [f"ComfyUI may refuse this: {doubt}" for doubt in rejection.doubts]
    if rejection.is_partial and request.allow_partial:
        report.warnings += rejection.problems
    elif rejection.error is not None:
        report.refuse(rejection.error, rejection.problems)
    classes = {str(node["class_type"]) for node in workflow.nodes.values()}
    outputs = {name for name in classes if catalogue.is_output_node(name) or name not in catalogue}
    if outputs and outputs <= _PREVIEWS and not request.outputs.temporary and not request.allow_partial:
        nothing_left = NoOutput(temporary_files=len(outputs))
        report.refuse(nothing_left, [str(nothing_left)])


def _problems_of(error: ComfyPodError) -> list[str]:
    problems = error.problems if isinstance(error, InvalidJobInput | InvalidWorkflow | ConfigurationError) else ()
    return list(problems) or [str(error)]


def _show(given: str, document: Document | None, source: NodeSource | None, report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(_to_json(given, document, source, report))
        return
    facts = [KIND_NAMES[document.kind]] if document else []
    facts += [f"{report.nodes} node{'s' if report.nodes != 1 else ''}"] if report.nodes is not None else []
    facts += [source.sentence] if source else []
    print_line(given, "; ".join(facts) or "not read", "bold")
    for label, sentences, style in (
        ("problem", report.problems, "bold red"),
        ("warning", report.warnings, "yellow"),
        ("model", report.fetches, "cyan"),
    ):
        for sentence in sentences:
            print_line(label, sentence, style)
    if report.refusal is not None:
        print_line("a worker would answer", f"{report.refusal.code}: {report.refusal}", "bold")
    else:
        print_line("a worker would run it", "no problem was found", "bold green")


def _to_json(given: str, document: Document | None, source: NodeSource | None, report: Report) -> Mapping[str, Any]:
    refusal = report.refusal
    return {
        "file": given,
        "kind": document.kind if document else None,
        "nodes": report.nodes,
        "checked_against": source.to_json() if source else None,
        "problems": report.problems,
        "warnings": report.warnings,
        "models": report.fetches,
        "refusal": {"code": refusal.code, "error": str(refusal)} if refusal else None,
    }

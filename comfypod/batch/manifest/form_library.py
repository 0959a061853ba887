"""The templates and workflows that rows name or hold; each is read once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from comfypod.batch.manifest.facts import KnownFacts, KnownWorkflows
from comfypod.batch.manifest.folder_rows import read_object
from comfypod.batch.manifest.forms import Form, TemplateFileForm, TemplateForm, WorkflowForm, digest_of
from comfypod.batch.manifest.library import ModelLibrary
from comfypod.batch.manifest.rows import RowProblem
from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import ComfyPodError, InvalidJobInput, InvalidWorkflow
from comfypod.schema.job import MOST_PROBLEMS
from comfypod.schema.limits import find_excess
from comfypod.schema.template import Template, load_template
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import EXPORT_HINT, Workflow

KEPT_WORKFLOWS: Final = 200
"""Of those that stand in rows themselves; as a rule all rows have the same one, or each has its own."""


class KnownForm:
    """A form, and what is known of the items that it makes."""

    def __init__(self, form: Form, workflows: KnownWorkflows) -> None:
        self.form = form
        self.facts = KnownFacts(form, workflows)
        self.files = form.files()


class FormLibrary:
    """Finds the form that a row means. ``folder`` is the manifest's: rows may name files in it, and none elsewhere."""

    def __init__(self, library: ModelLibrary, templates_folder: Path, folder: Path | None, longest_bytes: int) -> None:
        self._workflows = KnownWorkflows(library)
        self._templates_folder = templates_folder
        self._folder = folder
        self._longest_bytes = longest_bytes
        self._named: dict[str, KnownForm] = {}
        self._written: dict[str, KnownForm] = {}

    def given(self, name_or_path: str) -> KnownForm:
        """The form that was named beside the manifest; its file may be anywhere."""
        if not _is_path(name_or_path):
            return self._template(name_or_path)
        try:
            return self._file(Path(name_or_path))
        except RowProblem as error:
            raise RowProblem(*(f"{name_or_path} {clause}" for clause in error.args)) from error

    def of_row(self, value: Any) -> KnownForm:  # noqa: ANN401 (what a row has)
        """The form that a row names, or holds.

        Raises:
            RowProblem: it is none.
        """
        if isinstance(value, dict):
            return self._inline(value)
        if not isinstance(value, str) or not value:
            raise RowProblem("workflow: must be a workflow, the name of a template, or the path of a .json file")
        if value not in self._named:
            self._named[value] = self._in_folder(value) if _is_path(value) else self._template(value)
        return self._named[value]

    def _template(self, name: str) -> KnownForm:
        try:
            template = load_template(self._templates_folder, name)
            return self._known(TemplateForm(template, name))
        except InvalidJobInput as error:
            raise RowProblem(*error.problems) from error
        except ComfyPodError as error:
            raise RowProblem(str(error)) from error

    def _in_folder(self, text: str) -> KnownForm:
        if self._folder is None:
            raise RowProblem(f"workflow: {shortened(text)!r}: rows of a database cannot name files; use --template")
        base = self._folder.resolve()
        try:
            path = (base / text).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise RowProblem(f"workflow: {shortened(text)!r} is no path of a file") from error
        if not path.is_relative_to(base):
            raise RowProblem(f"workflow: {shortened(text)!r} leads out of the manifest's folder")
        try:
            return self._file(path)
        except RowProblem as error:
            raise RowProblem(*(f"workflow: {shortened(text)!r} {clause}" for clause in error.args)) from error

    def _file(self, path: Path) -> KnownForm:
        document = read_object(path, self._longest_bytes)
        kind = kind_of(document)
        if kind == "template":
            try:
                return self._known(TemplateFileForm(Template.model_validate(document)))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                field = ".".join(map(str, first["loc"]))
                raise RowProblem(f"is not a template: {field}: {first['msg']}") from error
        if kind != "workflow":
            raise RowProblem(f"holds no workflow and no template; {EXPORT_HINT}")
        return self._workflow(document)

    def _inline(self, document: Mapping[str, Any]) -> KnownForm:
        if excess := list(islice(find_excess(document, name="workflow"), MOST_PROBLEMS)):
            raise RowProblem(*excess)
        digest = digest_of(document)
        if digest not in self._written:
            if len(self._written) >= KEPT_WORKFLOWS:
                self._written.pop(next(iter(self._written)))
            self._written[digest] = self._workflow(document, digest)
        return self._written[digest]

    def _workflow(self, document: Mapping[str, Any], digest: str | None = None) -> KnownForm:
        try:
            return self._known(WorkflowForm(Workflow.parse(document), digest))
        except InvalidWorkflow as error:
            raise RowProblem(f"workflow: {error}") from error

    def _known(self, form: Form) -> KnownForm:
        try:
            return KnownForm(form, self._workflows)
        except InvalidWorkflow as error:
            raise RowProblem(f"workflow: {error}") from error


def _is_path(text: str) -> bool:
    return text.lower().endswith(".json")

"""Forms for whatever a person brings: a template's name, a workflow in either format, or a file that holds one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import ComfyPodError
from comfypod.schema.template import Template
from comfypod.schema.wire import as_object, shortened
from comfypod.schema.workflow import Workflow
from comfypod.web.forms.descriptions import DescriptionStore, problems_of
from comfypod.web.forms.forms import (
    MOST_FIELDS,
    Descriptions,
    Form,
    TemplateForm,
    classes_of,
    template_fields,
    workflow_fields,
)
from comfypod.web.forms.templates import Templates, title_of
from comfypod.web.platform import Platform

UNTITLED = "Workflow"
MOST_NOTES = 20
LONGEST_NOTE = 500
UI_NOTE = "This is what ComfyUI's page saves; the endpoint can tell what can be set in it. Run it as it is, or ask."


@dataclass(frozen=True, slots=True)
class _Given:
    """What was given, taken apart: ``workflow`` is in API format if ``is_api``; ``notes`` are sentences about it."""

    workflow: dict[str, Any]
    is_api: bool
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the endpoint says: the workflow in API format, empty if it says nothing; and sentences for people."""

    workflow: dict[str, Any]
    notes: Sequence[str]


class FormMaker:
    """Makes forms, with what the endpoint has said before, or is asked for now."""

    def __init__(self, platform: Platform, templates: Templates, descriptions: DescriptionStore) -> None:
        self._platform = platform
        self._templates = templates
        self._descriptions = descriptions

    async def of_templates(self) -> list[TemplateForm]:
        """All templates that are in order."""
        return await asyncio.to_thread(self._of_templates)

    async def form(self, given: Mapping[str, Any] | str, *, ask: bool) -> Form:
        """The form of a workflow. With ``ask`` the endpoint is asked, which may start a worker and take minutes.

        That it does not answer is a note: the form is made all the same.

        Raises:
            InvalidJobInput: there is no such template.
            InvalidWorkflow: this is no workflow.
        """
        if isinstance(given, str):
            template = await asyncio.to_thread(self._templates.load, given)
            answer = await self._ask(given) if ask else _Answer({}, ())
            return await asyncio.to_thread(self._template_form, template, answer.notes)
        return await self._workflow_form(_taken_apart(given), ask=ask)

    async def _workflow_form(self, given: _Given, *, ask: bool) -> Form:
        document = given.workflow if given.is_api else {}
        notes = [*given.notes]
        if ask:
            answer = await self._ask(given.workflow)
            notes += answer.notes
            document = document or answer.workflow
        elif not given.is_api:
            notes.append(UI_NOTE)
        if not document:
            return Form(title=UNTITLED, workflow=None, fields=[], notes=_shown(notes))
        return await asyncio.to_thread(self._filled_form, Workflow.parse(document), notes)

    def _filled_form(self, workflow: Workflow, notes: Sequence[str]) -> Form:
        described, is_described = self._known(workflow)
        fields = workflow_fields(workflow, described)
        if len(fields) == MOST_FIELDS:
            notes = [*notes, f"Only the first {MOST_FIELDS:,} inputs are shown."]
        nodes = dict(workflow.nodes)
        return Form(title=UNTITLED, workflow=nodes, fields=fields, notes=_shown(notes), is_described=is_described)

    def _template_form(self, template: Template, notes: Sequence[str]) -> Form:
        described, is_described = self._known(Workflow.parse(template.workflow))
        return Form(
            title=title_of(template.name),
            workflow=template.workflow,
            fields=template_fields(template, described),
            notes=_shown(notes),
            is_described=is_described,
        )

    def _of_templates(self) -> list[TemplateForm]:
        forms = []
        for template in self._templates.all():
            described, _ = self._known(Workflow.parse(template.workflow))
            fields = template_fields(template, described)
            forms.append(TemplateForm(name=template.name, description=template.description, fields=fields))
        return forms

    async def _ask(self, workflow: dict[str, Any] | str) -> _Answer:
        """Ask the endpoint, and keep what it says."""
        try:
            description = await self._platform.describe(workflow)
        except ComfyPodError as error:
            return _Answer({}, [f"The endpoint has not said what it has: {error}"])
        await asyncio.to_thread(self._descriptions.keep, description)
        return _Answer(as_object(description.get("workflow")), problems_of(description))

    def _known(self, workflow: Workflow) -> tuple[Descriptions, bool]:
        """What the endpoint has said of a workflow's classes, and whether of all of them."""
        classes = classes_of(workflow)
        described = self._descriptions.read(classes)
        return described, described.keys() == classes


def _shown(notes: Sequence[str]) -> list[str]:
    return [shortened(note, LONGEST_NOTE) for note in notes[:MOST_NOTES]]


def _taken_apart(given: Mapping[str, Any]) -> _Given:
    """Find the workflow in what was dropped.

    Raises:
        InvalidWorkflow: there is none.
    """
    notes: list[str] = []
    document = dict(given)
    kind = kind_of(document)
    if kind == "job":
        document, notes = as_object(document["input"]), ["This was a job; the workflow in it is shown."]
        kind = kind_of(document)
    if kind in {"job_input", "template"}:
        noun = "a template" if kind == "template" else "the input of a job"
        notes = notes or [f"This was {noun}; the workflow in it is shown."]
        document = as_object(document.get("workflow"))
        kind = kind_of(document)
    if kind != "ui_workflow":
        Workflow.parse(document)
    return _Given(document, kind != "ui_workflow", notes)

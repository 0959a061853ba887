"""What somebody asks to be run: checked before anything is kept, and made into a job's input when it is sent.

Nothing in a request is ever taken for a path of this machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfypod.cloud.inputs import LARGEST_BODY_BYTES
from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import FileNotFound, InvalidJobInput
from comfypod.schema.job import JobInput
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import Workflow
from comfypod.web.documents import RunFile
from comfypod.web.forms.templates import Templates, title_of
from comfypod.web.runs.store import Place, RunStore
from comfypod.web.runs.uploads import Uploads

LONGEST_TITLE = 200
MOST_FILES = 100
LARGEST_PARAMETERS_BYTES = 200_000
"""They are in every event about the run."""
_ENVELOPE_BYTES = 2_000
"""More than what stands around workflow, parameters and files in the body of ``POST /run``."""


class RunRequest(BaseModel):
    """The body of ``POST /api/runs``: a workflow (a document, or a template's name), and what goes with it.

    ``files`` are the names that the parameters have for them, and the ids of uploads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow: dict[str, Any] | str
    title: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    files: list[RunFile] = Field(default_factory=list, max_length=MOST_FILES)

    @property
    def template(self) -> str | None:
        """The name of the template, if it is one."""
        return self.workflow if isinstance(self.workflow, str) else None


def parse_request(document: Any, templates: Templates) -> RunRequest:  # noqa: ANN401 (what a browser sent)
    """Check what a request says by itself: its shape, and whether its parameters fit its workflow.

    What the endpoint's nodes accept, only the endpoint knows.

    Raises:
        InvalidJobInput, InvalidWorkflow: it cannot be run; every problem that can be told.
    """
    try:
        request = RunRequest.model_validate(document)
    except ValidationError as error:
        raise InvalidJobInput([_sentence(item) for item in error.errors(include_url=False)[:10]]) from error
    job = JobInput.parse(
        {
            "workflow": request.workflow,
            "parameters": request.parameters,
            "files": [{"name": file.name, "data": ""} for file in request.files],
        }
    )
    if len(json.dumps(request.parameters)) > LARGEST_PARAMETERS_BYTES:
        raise InvalidJobInput([f"parameters: are more than {LARGEST_PARAMETERS_BYTES:,} bytes"])
    if isinstance(request.workflow, str):
        templates.check(request.workflow, request.parameters)
    else:
        _check_workflow(request.workflow, request.parameters)
    update = {"workflow": job.workflow, "parameters": job.parameters, "title": _title(request)}
    return request.model_copy(update=update)


def _check_workflow(document: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    """That it is a workflow, and has the inputs that are to be set; of a UI export only the endpoint knows them."""
    kind = kind_of(document)
    if kind in {"job", "job_input", "template"}:
        raise InvalidJobInput([f"workflow: this is a {kind.replace('_', ' ')}; send the workflow that is in it"])
    if kind == "workflow":
        Workflow.parse(document).with_inputs(parameters)


def _title(request: RunRequest) -> str:
    """A line for the gallery."""
    given = "".join(character if character.isprintable() else " " for character in request.title or "")
    name = title_of(request.template) if request.template else "Workflow"
    return shortened(" ".join(given.split()) or name, LONGEST_TITLE)


def _sentence(item: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    place = ".".join(str(part) for part in item["loc"] if part not in {"dict[str,any]", "str"})
    return f"{shortened(place or 'body')}: {item['msg'][0].lower()}{item['msg'][1:]}"


@dataclass(frozen=True, slots=True)
class JobInputReader:
    """Makes the job's input of a run that is kept."""

    store: RunStore
    uploads: Uploads

    def check_files(self, visitor_id: str, request: RunRequest) -> None:
        """That the uploads are there, and that all of it fits into a job.

        Raises:
            FileNotFound: this visitor has no such upload.
            InvalidJobInput: RunPod takes no job that large.
        """
        sizes = [self.uploads.get(visitor_id, file.upload).size_bytes for file in request.files]
        in_base64 = sum(-(-size // 3) * 4 for size in sizes)
        document = json.dumps([request.workflow, request.parameters, [file.name for file in request.files]])
        excess = in_base64 + len(document) + _ENVELOPE_BYTES - LARGEST_BODY_BYTES
        if excess > 0:
            problem = f"files: together they are {excess // 4 * 3 + 3:,} bytes too large"
            rule = f"RunPod takes jobs of at most {LARGEST_BODY_BYTES:,} bytes, in which a file grows by a third"
            raise InvalidJobInput([f"{problem}; {rule}: make pictures smaller, or save them as JPEG"])

    def read(self, place: Place) -> dict[str, Any]:
        """The job's input of a run.

        Raises:
            FileNotFound: an upload has been removed meanwhile.
            RunNotFound: the run has.
        """
        run = self.store.read(place).run
        job_input = {
            "workflow": self.store.workflow(place),
            "parameters": run.parameters,
            "files": list(self._files(place.visitor_id, run.files)),
            "progress": {"previews": True},
        }
        return {name: value for name, value in job_input.items() if value}

    def _files(self, visitor_id: str, files: Iterable[RunFile]) -> Iterable[dict[str, str]]:
        for file in files:
            try:
                content = self.uploads.path(visitor_id, file.upload).read_bytes()
            except OSError as error:
                raise FileNotFound(f"The upload {file.name!r}") from error
            yield {"name": file.name, "data": base64.b64encode(content).decode("ascii")}

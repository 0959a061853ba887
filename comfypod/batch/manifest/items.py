"""From a row to what it means: a job's input, its identity, its assets and its work."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from comfypod.batch.manifest.facts import Facts
from comfypod.batch.manifest.form_library import FormLibrary, KnownForm
from comfypod.batch.manifest.forms import canonical
from comfypod.batch.manifest.library import ModelLibrary
from comfypod.batch.manifest.names import name_problem
from comfypod.batch.manifest.rows import Row, RowProblem
from comfypod.errors import InvalidJobInput
from comfypod.schema.job import MOST_PROBLEMS, JobInput
from comfypod.schema.limits import find_excess
from comfypod.schema.template import DEFAULT_TEMPLATE
from comfypod.schema.wire import listed, shortened

IDENTIFIER_BYTES: Final = 16
SEED_BITS: Final = 32
"""As many as a worker draws (`comfypod.worker.job_state`)."""

_OF_THE_JOB: Final = ("files", "outputs", "timeout_seconds", "allow_partial")
"""Fields that go into the job as they are."""
_KNOWN: Final = frozenset({"name", "workflow", "template", "prompt", "parameters", "images", "assets", *_OF_THE_JOB})
_SIMPLE: Final = frozenset({"name", "template", "prompt", "parameters"})
"""Rows with no other fields need no further look at what is nested in them."""
_OF_TABLES: Final = frozenset({"name", "workflow", "template"})
"""Columns that are no parameters."""
_NOT_FOR_ROWS: Final = {
    "comfy_org_api_key": "is a secret, and does not belong into a manifest",
    "api_key_comfy_org": "is a secret, and does not belong into a manifest",
    **dict.fromkeys(
        ("delivery", "describe", "idempotency_key", "once", "progress", "trace_id"), "is settled by the batch itself"
    ),
}
_ADDRESSES: Final = ("https://", "http://", "s3://")


class Made(NamedTuple):
    """What a row means. ``digest`` is of all of it; ``facts`` is the same object for rows that agree in them."""

    digest: bytes
    name: str | None
    job: dict[str, Any]
    facts: Facts
    assets: tuple[str, ...]


class ItemMaker:
    """Makes items of rows. ``defaults`` are fields, ``given`` the form, for rows that have none."""

    def __init__(
        self,
        forms: FormLibrary,
        library: ModelLibrary,
        *,
        defaults: Mapping[str, Any],
        given: KnownForm | None,
        ignored: frozenset[str],
    ) -> None:
        self._forms = forms
        self._library = library
        self._given = given
        self._ignored = ignored
        self._defaults = _checked_defaults(defaults, ignored)
        self._default_parameters: dict[str, Any] = self._defaults.pop("parameters", {})
        self._default_form = {
            name: self._defaults.pop(name) for name in ("workflow", "template") if name in self._defaults
        }

    def make(self, row: Row) -> Made:
        """Check a row, and say what it means.

        Raises:
            RowProblem: it cannot be made; every problem that was found.
        """
        if row.problem is not None:
            raise RowProblem(row.problem)
        known, fields, parameters = self._parts(row)
        beside = _beside(fields) if fields.keys() - _SIMPLE else {}
        name = fields.get("name")
        problems = [f"name: {problem}"] if name is not None and (problem := name_problem(name)) else []
        problems += _excess(parameters)
        if known.files:
            problems += _file_problems(known.files, parameters, beside)
        problems += known.form.problems(parameters) if not problems else ()
        extra = self._extra_assets(fields.get("assets"), problems) if "assets" in fields else ()
        if problems:
            raise RowProblem(*problems)
        content = canonical([known.form.digest, parameters, beside, name, extra])
        digest = hashlib.sha256(content).digest()[:IDENTIFIER_BYTES]
        facts = known.facts.of(parameters)
        for seed in known.form.seeds_to_draw(parameters):
            parameters[seed] = _drawn(digest, seed)
        job = {"workflow": known.form.workflow, "parameters": known.form.job_parameters(parameters), **beside}
        assets = tuple(dict.fromkeys((*facts.assets.keys, *extra))) if extra else facts.assets.keys
        return Made(digest, name, job, facts, assets)

    def _parts(self, row: Row) -> tuple[KnownForm, dict[str, Any], dict[str, Any]]:
        """The form of a row, its fields, and the parameters, each with what is given for all."""
        fields = row.fields
        if self._ignored:
            fields = {name: value for name, value in fields.items() if name not in self._ignored}
        if row.is_table:
            columns = {name: value for name, value in fields.items() if name not in _OF_TABLES}
            fields = {**self._defaults, **{name: str(fields[name]) for name in fields.keys() & _OF_TABLES}}
            known = self._form(fields, "prompt" in columns)
            typed = known.form.typed
            texts = {name: typed(name, value) if isinstance(value, str) else value for name, value in columns.items()}
            return known, fields, {**self._default_parameters, **texts}
        if unknown := fields.keys() - _KNOWN:
            raise RowProblem(*map(_unknown, sorted(map(str, unknown))[:MOST_PROBLEMS]))
        if self._defaults:
            fields = {**self._defaults, **fields}
        own = fields.get("parameters")
        if not isinstance(own, dict | None):
            raise RowProblem("parameters: must be an object")
        parameters = {**self._default_parameters, **(own or {})}
        known = self._form(fields, "prompt" in fields or "prompt" in parameters)
        if "prompt" in fields:
            _take_prompt(known, fields["prompt"], parameters)
        return known, fields, parameters

    def _form(self, fields: Mapping[str, Any], has_prompt: bool) -> KnownForm:
        named = fields if "workflow" in fields or "template" in fields else self._default_form
        if "workflow" in named and "template" in named:
            raise RowProblem("template: there is a workflow as well; name one of them")
        if named:
            value = named.get("workflow", named.get("template"))
            if value is not None:
                return self._forms.of_row(value)
        if self._given is not None:
            return self._given
        if has_prompt:
            return self._forms.of_row(DEFAULT_TEMPLATE)
        raise RowProblem("template: name one, or give a workflow or a prompt")

    def _extra_assets(self, value: Any, problems: list[str]) -> tuple[str, ...]:  # noqa: ANN401 (what a row has)
        if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
            problems.append('assets: must be a list of FOLDER/NAME, such as ["loras/x.safetensors"]')
            return ()
        problems += [
            f"assets: {problem}" for key in value[:MOST_PROBLEMS] if (problem := self._library.key_problem(key))
        ]
        return tuple(value)


def _checked_defaults(defaults: Mapping[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    wrong = sorted(map(str, defaults.keys() - (_KNOWN - {"name"}) - ignored))
    problems = [_unknown(name) if name != "name" else "name: belongs to one row" for name in wrong[:MOST_PROBLEMS]]
    if not isinstance(defaults.get("parameters", {}), dict):
        problems.append("parameters: must be an object")
    if problems:
        raise RowProblem(*problems)
    return dict(defaults)


def _unknown(name: str) -> str:
    if name in _NOT_FOR_ROWS:
        return f"{name}: {_NOT_FOR_ROWS[name]}"
    near = difflib.get_close_matches(shortened(name), _KNOWN, n=1)
    hint = f"did you mean {near[0]}?" if near else "there is: " + listed(sorted(_KNOWN))
    return f"{shortened(name)}: unknown field; {hint}"


def _take_prompt(known: KnownForm, prompt: Any, parameters: dict[str, Any]) -> None:  # noqa: ANN401
    if isinstance(known.form.workflow, dict) and known.form.problems({"prompt": prompt}):
        raise RowProblem("prompt: belongs to a template; with a workflow of your own use parameters ({'6.text': …})")
    parameters.setdefault("prompt", prompt)


def _beside(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the job has beside its workflow and parameters, checked as a worker does."""
    beside = {name: fields[name] for name in _OF_THE_JOB if fields.get(name) is not None}
    if fields.get("images") is not None:
        if "files" in beside:
            raise RowProblem("images: is the same as files; send one of them")
        beside["files"] = fields["images"]
    if beside:
        try:
            JobInput.parse({"workflow": DEFAULT_TEMPLATE, **beside})
        except InvalidJobInput as error:
            raise RowProblem(*error.problems) from error
    return beside


def _excess(parameters: Mapping[str, Any]) -> Sequence[str]:
    """What no worker takes: endless numbers, deep documents. Nearly all values are plain, and soon looked at."""
    for value in parameters.values():
        kind = type(value)
        if kind is str or kind is bool or (kind is int and value.bit_length() <= 63):
            continue
        if kind is float and math.isfinite(value):
            continue
        return list(islice(find_excess({"parameters": dict(parameters)}), MOST_PROBLEMS))
    return ()


def _file_problems(wanted: Mapping[str, str], parameters: dict[str, Any], beside: dict[str, Any]) -> list[str]:
    """Bring files and the parameters that name them together: an address is fetched, anything else has to be there."""
    files: list[dict[str, Any]] = list(beside.get("files", ()))
    for name in wanted:
        value = parameters.get(name)
        if isinstance(value, str) and value.startswith(_ADDRESSES):
            file_name = name + _suffix(value)
            files.append({"name": file_name, "url": value})
            parameters[name] = file_name
    if files:
        beside["files"] = files
    there = {file.get("name") for file in files}
    return [
        f"parameters.{name}: there is no file {shortened(parameters.get(name, usual))!r}; give its address, or add it "
        "to files"
        for name, usual in wanted.items()
        if parameters.get(name, usual) not in there
    ]


def _suffix(address: str) -> str:
    """``.png`` of an address that ends so; empty for what is no usual one."""
    try:
        last = urlsplit(address).path.rpartition("/")[2]
    except ValueError:
        return ""
    stem, point, suffix = last.rpartition(".")
    return f".{suffix.lower()}" if stem and point and suffix.isalnum() and suffix.isascii() and len(suffix) <= 5 else ""


def _drawn(digest: bytes, name: str) -> int:
    """A random seed that is always the same for the same item."""
    return int.from_bytes(hashlib.sha256(digest + name.encode("utf-8", "replace")).digest()[: SEED_BITS // 8], "big")

"""What a program submits, turned into a job's input. Pure.

A workflow names an uploaded file by a reference where a file's name would stand:
``{"__type": "core/ASSET", "info": {"id": …}}``. In the job's input a name stands there again, and the file is among its
``files``, as an address in the bucket that the worker has, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from comfypod.errors import InvalidMetadata, InvalidWorkflow, MalformedCall, MissingAsset, WorkflowFormatUI
from comfypod.gateway.assets.documents import AssetFile
from comfypod.schema.job import InputFile
from comfypod.schema.workflow import Workflow

ASSET_TYPE = "core/ASSET"
RESERVED = ("webhook_url", "inputs")
"""Fields that the contract keeps for later."""
MOST_LABELS = 16
LONGEST_VALUE_BYTES = 256
_LABEL_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_UI_FIELDS = ("nodes", "links")
_KEY_FIELD = "api_key_comfy_org"


FindAsset = Callable[[str], AssetFile | None]
"""The asset with this id, if the tenant has it."""


@dataclass(frozen=True, slots=True)
class JobCall:
    """The body of ``POST /jobs``, checked. ``api_key`` is for paid nodes."""

    workflow: dict[str, Any] = field(repr=False)
    labels: dict[str, str]
    api_key: str | None = field(repr=False)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> JobCall:
        """Check a body.

        Raises:
            MalformedCall: a field is missing, reserved, or of another type.
            WorkflowFormatUI, InvalidWorkflow: of the workflow's shape.
            InvalidMetadata: of the labels.
        """
        if reserved := [name for name in RESERVED if name in body]:
            raise MalformedCall(f"{reserved[0]} is reserved by the Comfy API; leave it out")
        workflow = body.get("workflow")
        if isinstance(workflow, dict) and all(isinstance(workflow.get(name), list) for name in _UI_FIELDS):
            raise WorkflowFormatUI
        Workflow.parse(workflow)
        return cls(_object(workflow), _labels(body.get("metadata")), _api_key(body.get("extra_data")))

    def asset_ids(self) -> list[str]:
        """The ids of all assets that the workflow loads, each once.

        Raises:
            MissingAsset: a reference has no id.
        """
        ids = [_asset_id(reference, node_id) for node_id, reference in self._references()]
        return list(dict.fromkeys(ids))

    def job_input(self, find: FindAsset) -> dict[str, Any]:
        """The job's input.

        Raises:
            MissingAsset: an asset is not there.
        """
        names, files = self._place(find)
        workflow = {node_id: _replaced(node, names) for node_id, node in self.workflow.items()}
        return {
            "workflow": workflow,
            **({"files": files} if files else {}),
            "progress": {"previews": True},
            **({"comfy_org_api_key": self.api_key} if self.api_key else {}),
        }

    def _place(self, find: FindAsset) -> tuple[dict[str, str], list[dict[str, str]]]:
        names: dict[str, str] = {}
        files: list[dict[str, str]] = []
        for node_id, reference in self._references():
            asset_id = _asset_id(reference, node_id)
            if asset_id not in names:
                asset = find(asset_id)
                if asset is None:
                    raise MissingAsset(asset_id, node_id)
                names[asset_id] = _file_name(asset.file_path, asset_id, set(names.values()))
                files.append({"name": names[asset_id], "url": asset.address})
        return names, files

    def _references(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for node_id, node in self.workflow.items():
            for reference in _references_in(node):
                yield node_id, reference


def _references_in(value: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 (any JSON)
    """Not deeper than the limits of JSON bodies allow."""
    if isinstance(value, dict):
        if value.get("__type") == ASSET_TYPE:
            yield value
            return
        for item in value.values():
            yield from _references_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references_in(item)


def _replaced(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(value, dict):
        if value.get("__type") == ASSET_TYPE:
            return names[value["info"]["id"]]
        return {name: _replaced(item, names) for name, item in value.items()}
    return [_replaced(item, names) for item in value] if isinstance(value, list) else value


def _asset_id(reference: Mapping[str, Any], node_id: str) -> str:
    info = reference.get("info")
    asset_id = info.get("id") if isinstance(info, dict) else None
    if not isinstance(asset_id, str) or not asset_id:
        raise MissingAsset("without an id", node_id)
    return asset_id


def _file_name(file_path: str, asset_id: str, taken: set[str]) -> str:
    """The last part of the asset's path, if a job can have a file of this name; nodes read its extension."""
    name = PurePosixPath(file_path.replace("\\", "/")).name
    plain = f"{asset_id[:8]}{PurePosixPath(name).suffix[:10]}"
    for candidate in (name, f"{asset_id[:8]}-{name}", plain):
        if candidate not in taken and _is_file_name(candidate):
            return candidate
    return asset_id


def _is_file_name(name: str) -> bool:
    try:
        InputFile(name=name, url="https://none")
    except ValidationError:
        return False
    return True


def _object(workflow: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON)
    if not isinstance(workflow, dict):
        raise InvalidWorkflow("A workflow is a JSON object")
    return workflow


def _labels(metadata: object) -> dict[str, str]:
    """Labels as the contract bounds them."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InvalidMetadata("metadata must be an object of texts")
    if len(metadata) > MOST_LABELS:
        raise InvalidMetadata(f"metadata has {len(metadata)} labels; at most {MOST_LABELS} are kept")
    return {check_label_key(name): _label_value(name, value) for name, value in metadata.items()}


def check_label_key(name: str) -> str:
    """The key of a label.

    Raises:
        InvalidMetadata: it cannot be one.
    """
    if not _LABEL_KEY.fullmatch(name):
        raise InvalidMetadata(f"metadata: the key {name[:60]!r} must be 1 to 40 of A-Z a-z 0-9 _ . -")
    return name


def _label_value(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > LONGEST_VALUE_BYTES:
        raise InvalidMetadata(f"metadata: {name} must be a text of at most {LONGEST_VALUE_BYTES} bytes")
    return value


def _api_key(extra_data: object) -> str | None:
    if extra_data is None:
        return None
    if not isinstance(extra_data, dict) or not extra_data or set(extra_data) - {_KEY_FIELD}:
        raise MalformedCall(f"extra_data may have {_KEY_FIELD} and nothing else")
    key = extra_data[_KEY_FIELD]
    if not isinstance(key, str) or not key:
        raise MalformedCall(f"extra_data.{_KEY_FIELD} must be a text")
    return key

"""What an endpoint has said of node classes, kept on disk until it is asked again: it may take a worker's start to ask.

One file for each class, by the digest of its name: names come from strangers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.errors import SavingFailed
from comfypod.logs import event
from comfypod.schema.wire import as_list, as_object
from comfypod.web.disk import write_whole
from comfypod.web.forms.fields import Described

MOST_CLASSES = 2_000
"""Of one endpoint; far more than anybody's workflows have."""


@dataclass(frozen=True, slots=True)
class DescriptionStore:
    """The descriptions by one endpoint; ``folder`` is for all of them. All calls work on the disk."""

    folder: Path
    endpoint: str

    def read(self, classes: Iterable[str]) -> dict[str, dict[str, Described]]:
        """What is known of these classes: their inputs by name. Classes that are not known are left out."""
        found = ((name, self._read(name)) for name in classes)
        return {name: inputs for name, inputs in found if inputs is not None}

    def keep(self, description: Mapping[str, Any]) -> None:
        """Keep what a worker says of the classes of a workflow; a disk that does not take it is no obstacle."""
        by_class: dict[str, dict[str, Any]] = {}
        for node in as_object(description.get("nodes")).values():
            told = as_object(node)
            if told.get("is_known") is True and isinstance(told.get("class_type"), str):
                by_class.setdefault(told["class_type"], {}).update(as_object(told.get("inputs")))
        known = {path.name for path in self._own_folder.glob("*.json")}
        for class_type, inputs in by_class.items():
            path = self._path(class_type)
            if path.name not in known and len(known) >= MOST_CLASSES:
                continue
            known.add(path.name)
            try:
                write_whole(path, json.dumps(inputs).encode())
            except SavingFailed as error:
                event("description_not_kept", logging.WARNING, cause=error.cause)
                return

    @property
    def _own_folder(self) -> Path:
        return self.folder / _digest(self.endpoint)

    def _path(self, class_type: str) -> Path:
        return self._own_folder / f"{_digest(class_type)}.json"

    def _read(self, class_type: str) -> dict[str, Described] | None:
        try:
            inputs = json.loads(self._path(class_type).read_bytes())
        except (OSError, ValueError):
            return None
        items = ((name, Described.read(item)) for name, item in as_object(inputs).items())
        return {name: item for name, item in items if item is not None}


def problems_of(description: Mapping[str, Any]) -> list[str]:
    """What the worker would refuse, in sentences."""
    return [item for item in as_list(description.get("problems")) if isinstance(item, str)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]

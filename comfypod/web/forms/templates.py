"""The templates that the page offers: those of ``workflows/`` where the server was started, else those that came along.

A template's name is what is sent: the worker has the templates itself (``docs/how-to/write-a-template.md``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.errors import ConfigurationError, InvalidJobInput, InvalidWorkflow
from comfypod.logs import event
from comfypod.schema.template import DEFAULT_TEMPLATE, Template, load_template
from comfypod.schema.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of a folder; each is read when it is asked for, so that changes count at once."""

    folder: Path

    def load(self, name: str) -> Template:
        """One of them.

        Raises:
            InvalidJobInput: there is none of this name; it says which there are.
            ConfigurationError: its file is none.
        """
        return load_template(self.folder, name)

    def all(self) -> list[Template]:
        """All that are in order, the default one first, the others by name."""
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        names.sort(key=lambda name: name != DEFAULT_TEMPLATE)
        return [template for name in names if (template := self._sound(name)) is not None]

    def check(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters that do not fit.

        Raises:
            InvalidJobInput, InvalidWorkflow: every problem that can be told.
        """
        self.load(name).render(parameters, lambda _: 0)

    def _sound(self, name: str) -> Template | None:
        """The template, unless its file is broken: the others are offered all the same."""
        try:
            template = self.load(name)
            Workflow.parse(template.workflow)
        except (ConfigurationError, InvalidJobInput, InvalidWorkflow) as error:
            event("template_left_out", logging.WARNING, template=name, cause=str(error))
            return None
        return template


def title_of(name: str) -> str:
    """``text_to_image`` as people write it: ``Text to image``."""
    words = " ".join(name.replace("-", "_").split("_")).strip()
    return words[:1].upper() + words[1:]

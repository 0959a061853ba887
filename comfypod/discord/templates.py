"""The templates that become commands: those of ``workflows/`` where the bot was started, else those that came along."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.discord.commands import command_document, command_name, file_parameter
from comfypod.errors import ConfigurationError, InvalidJobInput, InvalidWorkflow
from comfypod.logs import event
from comfypod.schema.template import DEFAULT_TEMPLATE, Template, load_template
from comfypod.schema.workflow import Workflow

UPSCALE = "upscale"
"""The template behind the button of this name; it has one file, and the rest by default."""
MOST_COMMANDS = 100
"""Of an application (docs.discord.com, Application Commands)."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates as they were when the bot was started: Discord was told of these."""

    by_name: dict[str, Template]

    @classmethod
    def load(cls, folder: Path) -> Templates:
        """Read them; one that is broken is left out, and the log says so.

        Raises:
            ConfigurationError: there is none at all.
        """
        names = sorted((path.stem for path in folder.glob("*.json")), key=lambda name: (name != DEFAULT_TEMPLATE, name))
        found = {name: template for name in names if (template := _sound(folder, name)) is not None}
        if not found:
            raise ConfigurationError([f"There are no templates in {folder}; each becomes a command."])
        return cls(found)

    def find(self, name: str) -> Template | None:
        """The template of this name, if there still is one."""
        return self.by_name.get(name)

    def of_command(self, name: str) -> Template | None:
        """The template behind a command; of two that would be called the same, the first."""
        return next((item for item in self.by_name.values() if command_name(item) == name), None)

    def commands(self) -> list[dict[str, Any]]:
        """The commands as Discord is told of them."""
        offered = [item for item in self.by_name.values() if self.of_command(command_name(item)) is item]
        return [command_document(item) for item in offered[:MOST_COMMANDS]]

    def upscale(self) -> Template | None:
        """The template that makes a result larger, if there is one."""
        template = self.by_name.get(UPSCALE)
        return template if template is not None and file_parameter(template) is not None else None


def _sound(folder: Path, name: str) -> Template | None:
    try:
        template = load_template(folder, name)
        Workflow.parse(template.workflow)
    except (ConfigurationError, InvalidJobInput, InvalidWorkflow) as error:
        event("template_left_out", logging.WARNING, template=name, cause=str(error))
        return None
    return template

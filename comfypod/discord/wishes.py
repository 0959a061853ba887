"""What somebody wants: a command that was typed, or a button that was clicked, as a template and a job's input."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.discord.attachments import attached_files
from comfypod.discord.buttons import Click
from comfypod.discord.commands import parameters_of
from comfypod.discord.results import Results
from comfypod.discord.templates import Templates
from comfypod.discord.variations import repeated, upscaled, varied
from comfypod.errors import ButtonRefused, InvalidJobInput, RequestNotFound
from comfypod.master.documents import Request
from comfypod.master.store import Store
from comfypod.schema.template import Template


@dataclass(frozen=True, slots=True)
class AttachmentRules:
    """What may be attached: at most ``limit_bytes``, and only what ``hosts``, which are Discord's, give out."""

    limit_bytes: int = 20_000_000
    hosts: tuple[str, ...] = ("cdn.discordapp.com", "media.discordapp.net")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants, understood and complete."""

    template: Template
    job_input: dict[str, Any]


class Wishes:
    """Understands commands and clicks."""

    def __init__(self, store: Store, templates: Templates, results: Results, attachments: AttachmentRules) -> None:
        self._store = store
        self._templates = templates
        self._results = results
        self._attachments = attachments

    def of_command(self, data: Mapping[str, Any]) -> Wish:
        """What a command asks for; ``data`` is the interaction's (docs.discord.com, Interaction Data).

        Raises:
            InvalidJobInput: a value does not fit, or the command is an old one.
        """
        template = self._templates.of_command(str(data.get("name")))
        if template is None:
            raise InvalidJobInput(["this command is no longer there; type it anew"])
        parameters = parameters_of(template, data.get("options") or [])
        described = (data.get("resolved") or {}).get("attachments") or {}
        rules = self._attachments
        files = attached_files(template, parameters, described, rules.limit_bytes, rules.hosts)
        parameters |= {file.parameter: file.name for file in files}
        template.render(parameters, lambda _: 0)
        job_input: dict[str, Any] = {"workflow": template.name, "parameters": parameters}
        if files:
            job_input["files"] = [{"name": file.name, "url": file.url} for file in files]
        return Wish(template, {**job_input, "progress": {"previews": True}})

    async def of_click(self, click: Click, tenant: str) -> Wish:
        """What a button below a result asks for.

        Raises:
            ButtonRefused: what it belongs to is gone, or another server's.
        """
        request = await self.request_of(click, tenant)
        job_input = await asyncio.to_thread(self._store.job_input, click.key)
        template = self._templates.find(str(job_input.get("workflow")))
        if template is None:
            raise ButtonRefused("What made this picture is no longer offered here.")
        if click.action == "repeat":
            return Wish(template, repeated(job_input, request))
        if click.action == "vary":
            return Wish(template, varied(job_input, template))
        larger = self._templates.upscale()
        job = upscaled(request, larger, self._results.address) if larger is not None else None
        if larger is None or job is None:
            raise ButtonRefused("This picture cannot be made larger here.")
        return Wish(larger, job)

    async def request_of(self, click: Click, tenant: str) -> Request:
        """The request that a button belongs to: of this server, whatever the custom id says. Raises `ButtonRefused`."""
        try:
            request = await asyncio.to_thread(self._store.get, click.key)
        except RequestNotFound as error:
            raise ButtonRefused("This is too long ago; please ask anew.") from error
        if request.tenant != tenant:
            raise ButtonRefused("This picture was not made in this server.")
        return request

"""The last look of a request's message: its result, or why there is none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from comfypod.deadline import Deadline
from comfypod.discord.buttons import Action
from comfypod.discord.commands import seeds_of
from comfypod.discord.messages import offered_at_end, show_end
from comfypod.discord.origin import Origin
from comfypod.discord.replies import MessageTooLarge, Replies
from comfypod.discord.results import Brought, Results, artifacts_of
from comfypod.discord.templates import Templates
from comfypod.errors import DownloadFailed, UploadRefused
from comfypod.master.documents import Request
from comfypod.master.states import FAILED
from comfypod.master.store import Store

END_SECONDS = 60.0
"""All of it: fetching the files, and sending them."""


class Endings:
    """Shows ends. Showing one twice leaves one message, as it was."""

    def __init__(self, store: Store, replies: Replies, results: Results, templates: Templates) -> None:
        self._store = store
        self._replies = replies
        self._results = results
        self._templates = templates

    async def show(self, request: Request, *, looks_first: bool = False) -> None:
        """Make the message the result of a request that has ended; the caller holds the right to show it.

        ``looks_first``: it may look so already, since whoever showed it died before it could say so.

        Raises:
            DiscordUnavailable, DiscordRefused, DiscordTokenRefused: as `Replies`.
            DownloadInterrupted, DeadlineExceeded: the bucket does not answer.
        """
        deadline = Deadline.after(END_SECONDS)
        origin = Origin.from_json(request.origin)
        try:
            found = await self._show(request, origin, origin.attachment_limit_bytes, deadline, looks_first=looks_first)
        except MessageTooLarge:
            found = await self._show(request, origin, 0, deadline, looks_first=False)
        if found != origin:
            await asyncio.to_thread(self._store.set_origin, request.key, found.to_json())

    async def _show(
        self, request: Request, origin: Origin, limit_bytes: int, deadline: Deadline, *, looks_first: bool
    ) -> Origin:
        try:
            brought = await self._results.bring(request.output or {}, limit_bytes, deadline)
        except (DownloadFailed, UploadRefused) as error:
            if error.retryable:
                raise
            request, brought = _without_files(request, str(error)), Brought([], [])
        shown = show_end(request, origin, brought.links, self._offered(request, origin))
        if looks_first and await self._replies.looks_like(request.key, origin, shown, brought.pictures):
            return origin
        seconds = max(1.0, deadline.remaining_seconds)
        return await self._replies.edit_or_send(request.key, origin, shown, brought.pictures, seconds)

    def _offered(self, request: Request, origin: Origin) -> list[Action]:
        template = self._templates.find(origin.template)
        pictures = [item for item in artifacts_of(request.output or {}) if item["content_type"].startswith("image/")]
        can_upscale = bool(pictures) and self._templates.upscale() is not None and origin.template != "upscale"
        return offered_at_end(
            request, has_seed=template is not None and bool(seeds_of(template)), can_upscale=can_upscale
        )


def _without_files(request: Request, cause: str) -> Request:
    """The request as one whose result nobody can have any more."""
    message = f"It was made, but its files can no longer be fetched: {cause}"
    return replace(request, state=FAILED, output=None, error={"code": "result_gone", "message": message})

"""From a command or a click to a request: checked, in the store, and then acknowledged, all within three seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import discord

from comfypod.discord.buttons import Click, click_of
from comfypod.discord.commands import main_text, texts_of
from comfypod.discord.messages import escaped, when_to_return
from comfypod.discord.origin import FRONT_END, Origin
from comfypod.discord.replies import explained
from comfypod.discord.rules import Rules
from comfypod.discord.showing import LABELS, Showing
from comfypod.discord.wishes import Wish, Wishes
from comfypod.errors import (
    ButtonRefused,
    ComfyPodError,
    DiscordError,
    IdempotencyKeyReused,
    InvalidJobInput,
    QueueFull,
    QuotaExceeded,
    StoreUnavailable,
    TextRefused,
)
from comfypod.logs import event
from comfypod.master.documents import NewRequest, Notification, Request
from comfypod.master.quotas import Quota
from comfypod.master.store import Store

Interaction = discord.Interaction[Any]

ACKNOWLEDGED_AFTER_SECONDS = 1.8
"""So long the answer may be worked on before Discord is told that it comes; it waits for three seconds."""
ACKNOWLEDGE_SECONDS = 5.0
MOST_TEXT = 300


class Asking:
    """Answers commands and clicks; ``quota`` is what a server and each of its people may ask for."""

    def __init__(self, store: Store, wishes: Wishes, rules: Rules, showing: Showing, quota: Quota) -> None:
        self._store = store
        self._wishes = wishes
        self._rules = rules
        self._showing = showing
        self._quota = quota
        self._known: set[str] = set()

    async def answer(self, interaction: Interaction) -> None:
        """Answer an interaction, whatever it is; nothing is raised but bugs."""
        data: dict[str, Any] = {**(interaction.data or {})}
        click = click_of(str(data.get("custom_id", "")))
        if interaction.type is discord.InteractionType.application_command:
            await self._submit(interaction, lambda: _at_once(lambda: self._wishes.of_command(data)))
        elif click is None:
            return  # a component of somebody else's
        elif click.action == "cancel":
            await self._cancel(interaction, click)
        else:
            await self._submit(interaction, lambda: self._wishes.of_click(click, _tenant(interaction)))

    async def _submit(self, interaction: Interaction, understand: Callable[[], Awaitable[Wish]]) -> None:
        """The request is in the store before anybody is told that it is taken."""
        received_at = time.monotonic()
        working = asyncio.create_task(self._take(interaction, understand))
        await asyncio.wait({working}, timeout=ACKNOWLEDGED_AFTER_SECONDS)
        is_slow = not working.done()
        message_id = await self._acknowledge(interaction) if is_slow else None
        try:
            request = await working
        except IdempotencyKeyReused:
            return  # another process, which knows other templates, has taken it
        except ComfyPodError as error:
            self._log_refusal(interaction, error)
            await self._refuse(interaction, _sentence(error))
            return
        if not is_slow:
            message_id = await self._acknowledge(interaction)
        seconds = round(time.monotonic() - received_at, 3)
        event("discord_request_taken", key=request.key, user=interaction.user.id, seconds=seconds)
        if message_id is not None:
            await self._note(request, message_id)
        self._showing.begin(request.key)

    async def _note(self, request: Request, message_id: int) -> None:
        """Keep where the request is shown; where that fails, it is found out again."""
        origin = Origin.from_json(request.origin).shown_in(message_id, is_reply=True)
        try:
            await asyncio.to_thread(self._store.set_origin, request.key, origin.to_json())
        except StoreUnavailable as error:
            event("discord_store_unavailable", logging.WARNING, key=request.key, cause=error.cause)

    async def _take(self, interaction: Interaction, understand: Callable[[], Awaitable[Wish]]) -> Request:
        """Check what is wanted, and put it into the store."""
        if interaction.guild_id is None or interaction.channel_id is None:
            raise ButtonRefused("Pictures are made in servers only; please ask there.")
        wish = await understand()
        tenant, user = _tenant(interaction), str(interaction.user.id)
        texts = list(texts_of(wish.template, wish.job_input["parameters"]).values())
        refusal = await asyncio.to_thread(self._rules.refusal, texts, user)
        if refusal is not None:
            raise TextRefused(refusal.rule, refusal.reason)
        if tenant not in self._known:
            await asyncio.to_thread(self._store.set_quota, tenant, self._quota)
            self._known.add(tenant)
        new = NewRequest(
            tenant=tenant,
            user=user,
            idempotency_key=str(interaction.id),
            job_input=wish.job_input,
            labels=LABELS,
            origin=_origin(interaction, wish).to_json(),
            notify=(Notification(FRONT_END, {}),),
        )
        return (await asyncio.to_thread(self._store.submit, new)).request

    async def _cancel(self, interaction: Interaction, click: Click) -> None:
        """Only who asked, and moderators, may cancel; the message itself then says that it is."""
        try:
            request = await self._wishes.request_of(click, _tenant(interaction))
            if str(interaction.user.id) != request.user and not interaction.permissions.manage_messages:
                raise ButtonRefused("Only who asked for this picture, or a moderator, can cancel it.")
            await asyncio.to_thread(self._store.cancel, click.key)
            async with explained(ACKNOWLEDGE_SECONDS):
                await interaction.response.defer()
            event("discord_request_cancelled", key=click.key, user=interaction.user.id)
        except DiscordError as error:
            await self._refuse(interaction, str(error))
        except ComfyPodError as error:
            event("discord_cancel_failed", logging.WARNING, key=click.key, cause=str(error))
            await self._refuse(interaction, _sentence(error))

    async def _acknowledge(self, interaction: Interaction) -> int | None:
        """Tell Discord that the answer comes; return the message that it comes in, if that is known.

        Where it is too late, or another process was first, the request is in the store all the same.
        """
        try:
            async with explained(ACKNOWLEDGE_SECONDS):
                answer = await interaction.response.defer(thinking=True)
                return None if answer is None else answer.message_id
        except DiscordError as error:
            event("discord_not_acknowledged", logging.WARNING, interaction=interaction.id, cause=str(error))
            return None

    async def _refuse(self, interaction: Interaction, sentence: str) -> None:
        """Say why not: to whoever asked alone, if it is not too late for that."""
        try:
            async with explained(ACKNOWLEDGE_SECONDS):
                if interaction.response.is_done():
                    await interaction.edit_original_response(content=sentence)
                else:
                    await interaction.response.send_message(
                        sentence, ephemeral=True, allowed_mentions=discord.AllowedMentions.none()
                    )
        except DiscordError as error:
            event("discord_refusal_not_told", logging.WARNING, interaction=interaction.id, cause=str(error))

    def _log_refusal(self, interaction: Interaction, error: ComfyPodError) -> None:
        """What was refused, and by which rule: never the text."""
        rule = error.rule if isinstance(error, TextRefused) else ""
        guild, user = interaction.guild_id, interaction.user.id
        event("discord_request_refused", guild=guild, user=user, code=error.code, rule=rule)


async def _at_once(understand: Callable[[], Wish]) -> Wish:
    return understand()


def _tenant(interaction: Interaction) -> str:
    return f"discord:{interaction.guild_id}"


def _origin(interaction: Interaction, wish: Wish) -> Origin:
    text = main_text(wish.template, wish.job_input["parameters"])
    return Origin(
        application_id=interaction.application_id,
        guild_id=interaction.guild_id or 0,
        channel_id=interaction.channel_id or 0,
        user_id=interaction.user.id,
        interaction_id=interaction.id,
        token=interaction.token,
        text=text[:MOST_TEXT],
        template=wish.template.name,
        attachment_limit_bytes=interaction.filesize_limit,
    )


def _sentence(error: ComfyPodError) -> str:
    """What whoever asked is told."""
    if isinstance(error, InvalidJobInput):
        return f"That does not work: {escaped('; '.join(error.problems))}"
    if isinstance(error, QuotaExceeded):
        when = when_to_return(error.retry_after_seconds)
        return f"You have as much under way as is allowed here ({error.what}). Please come back {when}."
    if isinstance(error, QueueFull):
        return f"Very many pictures are being waited for. Please come back {when_to_return(error.retry_after_seconds)}."
    if isinstance(error, DiscordError):
        return str(error)
    return "That did not work just now, and nothing was started. Please try again in a minute."

"""The message that shows a request, wherever it is: the one place that writes to Discord for a request.

An interaction's reply is edited by the interaction's token for as long as that works, and by the bot's own token after
it. A message of the bot's own is sent only where there is none to edit: it is looked for before, and Discord itself
drops a second one (``enforce_nonce``, "in the past few minutes": docs.discord.com, Create Message).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import aiohttp
import discord

from comfypod.discord.buttons import LABELS, custom_id
from comfypod.discord.messages import Shown
from comfypod.discord.origin import Origin
from comfypod.errors import ComfyPodError, DiscordRefused, DiscordTokenRefused, DiscordUnavailable

WRITE_SECONDS = 15.0
NONCE_LENGTH = 25
SEARCHED = 100
ORIGINAL = "@original"
"""Discord's name of an interaction's reply."""
INVALID_WEBHOOK_TOKEN = 50027
_STYLES = {"cancel": discord.ButtonStyle.danger}


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of a message."""

    name: str
    content: bytes


class MessageGone(ComfyPodError):
    """There is no message to edit: it was deleted, or never came to be."""


class MessageTooLarge(ComfyPodError):
    """The server takes no files of this size, whatever it said before."""


class Replies:
    """Writes messages. Every method is bounded in time, and may be called again.

    They raise `DiscordUnavailable` where Discord does not answer or asks for patience, `DiscordRefused` where it does
    not allow it, and `DiscordTokenRefused` where the bot itself is not welcome any more.
    """

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def edit(
        self,
        key: str,
        origin: Origin,
        shown: Shown,
        pictures: Sequence[Picture] | None = None,
        seconds: float = WRITE_SECONDS,
    ) -> Origin:
        """Make the request's message look so; return where it is, to be kept. ``pictures`` None: as they are.

        Raises:
            MessageGone: there is none.
        """
        async with explained(seconds):
            found = await self._edit(key, origin, shown, pictures)
            if found is None:
                raise MessageGone
            return found

    async def edit_or_send(
        self, key: str, origin: Origin, shown: Shown, pictures: Sequence[Picture], seconds: float = WRITE_SECONDS
    ) -> Origin:
        """As `edit`; where there is no message, send one.

        Raises:
            MessageTooLarge: the pictures are too large for the server.
        """
        async with explained(seconds):
            found = await self._edit(key, origin, shown, pictures)
            if found is None and (message_id := await self._find(key, origin)) is not None:
                found = await self._edit(key, origin.shown_in(message_id, is_reply=False), shown, pictures)
            return found or await self._send(key, origin, shown, pictures)

    async def looks_like(self, key: str, origin: Origin, shown: Shown, pictures: Sequence[Picture]) -> bool:
        """Whether the message is as it should be already. It is asked for with the bot's own token."""
        if origin.message_id is None:
            return False
        async with explained(WRITE_SECONDS):
            try:
                message = await self._channel(origin).fetch_message(origin.message_id)
            except (discord.NotFound, discord.Forbidden):
                return False
        names = [attachment.filename for attachment in message.attachments]
        ids = [custom_id(action, key) for action in shown.buttons]
        wanted = (shown.content, [picture.name for picture in pictures], ids)
        return (message.content, names, _custom_ids(message)) == wanted

    async def _edit(self, key: str, origin: Origin, shown: Shown, pictures: Sequence[Picture] | None) -> Origin | None:
        """None if there is no such message."""
        if origin.token_works(datetime.now(UTC)):
            try:
                message_id = await self._edit_by_token(key, origin, shown, pictures)
                return origin.shown_in(message_id, is_reply=True)
            except discord.HTTPException as error:
                if not _is_gone(error):
                    raise
        if origin.message_id is None:
            return None
        try:
            message = self._channel(origin).get_partial_message(origin.message_id)
            await message.edit(**_body(key, shown, pictures))
        except discord.NotFound:
            return None
        return origin

    async def _edit_by_token(self, key: str, origin: Origin, shown: Shown, pictures: Sequence[Picture] | None) -> int:
        webhook = discord.Webhook.partial(origin.application_id, origin.token, client=self._client)
        target: Any = origin.message_id or ORIGINAL  # which the library has no type for
        message = await webhook.edit_message(target, **_body(key, shown, pictures))
        return message.id

    async def _send(self, key: str, origin: Origin, shown: Shown, pictures: Sequence[Picture]) -> Origin:
        body = _body(key, shown, None)
        files = [_file(picture) for picture in pictures]
        message = await self._channel(origin).send(nonce=key[:NONCE_LENGTH], files=files, **body)
        if message.content != shown.content:  # it was sent before, and said something else then
            await message.edit(**_body(key, shown, pictures))
        return origin.shown_in(message.id, is_reply=False)

    async def _find(self, key: str, origin: Origin) -> int | None:
        """The request's message among those that came right after the interaction, and the newest ones."""
        channel = self._channel(origin)
        beginning = discord.Object(origin.interaction_id)
        try:
            for history in (channel.history(limit=SEARCHED, after=beginning), channel.history(limit=SEARCHED)):
                async for message in history:
                    if self._is_of(message, key, origin):
                        return message.id
        except discord.Forbidden:  # without "Read Message History" only the nonce is left
            pass
        return None

    def _is_of(self, message: discord.Message, key: str, origin: Origin) -> bool:
        if self._client.user is None or message.author.id != self._client.user.id:
            return False
        about = message.interaction_metadata
        is_reply = about is not None and about.id == origin.interaction_id
        return is_reply or any(item.endswith(f":{key}") for item in _custom_ids(message))

    def _channel(self, origin: Origin) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(origin.channel_id, guild_id=origin.guild_id)


@asynccontextmanager
async def explained(seconds: float) -> AsyncIterator[None]:
    """Bound the body in time, and turn what Discord and its library say into errors of ours."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except discord.RateLimited as error:
        raise DiscordUnavailable(f"it asks for {error.retry_after:.0f} s of patience") from error
    except discord.HTTPException as error:
        if error.status == 401:
            raise DiscordTokenRefused from error
        if error.status == 413:
            raise MessageTooLarge from error
        if error.status == 429 or error.status >= 500:
            raise DiscordUnavailable(f"it answers {error.status}") from error
        raise DiscordRefused(f"{error.text or error.status} (code {error.code})") from error
    except TimeoutError as error:
        raise DiscordUnavailable(f"it did not answer within {seconds:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise DiscordUnavailable(f"it cannot be reached ({type(error).__name__})") from error


def _is_gone(error: discord.HTTPException) -> bool:
    """Whether the token leads to no message: not acknowledged, deleted, or too old."""
    return error.status == 404 or (error.status == 401 and error.code == INVALID_WEBHOOK_TOKEN)


def _body(key: str, shown: Shown, pictures: Sequence[Picture] | None) -> dict[str, Any]:
    """The arguments that the library's methods have in common; nobody is mentioned by what others typed."""
    body = {
        "content": shown.content,
        "view": _view(key, shown),
        "allowed_mentions": discord.AllowedMentions.none(),
    }
    return body if pictures is None else body | {"attachments": [_file(picture) for picture in pictures]}


def _view(key: str, shown: Shown) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for action in shown.buttons:
        style = _STYLES.get(action, discord.ButtonStyle.secondary)
        view.add_item(discord.ui.Button(label=LABELS[action], style=style, custom_id=custom_id(action, key)))
    view.stop()  # clicks are understood by their custom ids: the library need not keep it
    return view


def _file(picture: Picture) -> discord.File:
    return discord.File(BytesIO(picture.content), picture.name)


def _custom_ids(message: discord.Message) -> list[str]:
    rows = [row.children for row in message.components if isinstance(row, discord.ActionRow)]
    return [item.custom_id or "" for row in rows for item in row if isinstance(item, discord.Button)]

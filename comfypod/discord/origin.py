"""What the bot keeps with a request: who asked, and the message that shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
"""Discord's (docs.discord.com, Snowflakes): an identifier begins with the milliseconds since then."""
TOKEN_LIFETIME = timedelta(minutes=14)
"""Discord takes an interaction's token for 15 minutes; the last one is for clocks that differ."""
FRONT_END = "discord"
"""The kind of notification, and the label of its requests."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, and where it is shown.

    Args:
        application_id: the bot.
        interaction_id: the command or the click; the request's idempotency key.
        token: of the interaction: who has it may edit the reply. Never logged.
        message_id: what shows it; None until that is known.
        is_reply: the message is the interaction's reply, which its token may edit; else one of the bot's own.
        text: what a person recognises it by.
        template: its name.
        attachment_limit_bytes: the largest file that the server takes.
    """

    application_id: int
    guild_id: int
    channel_id: int
    user_id: int
    interaction_id: int
    token: str = field(repr=False)
    text: str = field(repr=False)
    template: str
    attachment_limit_bytes: int
    message_id: int | None = None
    is_reply: bool = True

    def to_json(self) -> dict[str, Any]:
        """As the store keeps it; identifiers as text, for not every reader of JSON has 64 bits."""
        known = asdict(self)
        return {
            name: str(value) if name.endswith("_id") and value is not None else value for name, value in known.items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """As it was kept."""
        known: dict[str, Any] = {item.name: document[item.name] for item in fields(cls) if item.name in document}
        numbers = {name: int(value) for name, value in known.items() if name.endswith("_id") and value is not None}
        return cls(**(known | numbers))

    def shown_in(self, message_id: int, *, is_reply: bool) -> Origin:
        """The same, shown in that message from now on."""
        return replace(self, message_id=message_id, is_reply=is_reply)

    def token_works(self, now: datetime) -> bool:
        """Whether the reply can still be edited by the interaction's token."""
        return self.is_reply and now < moment_of(self.interaction_id) + TOKEN_LIFETIME


def moment_of(snowflake: int) -> datetime:
    """When something of this identifier came to be."""
    return EPOCH + timedelta(milliseconds=snowflake >> 22)

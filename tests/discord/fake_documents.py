"""What the fake Discord knows, and how Discord writes it down (docs.discord.com, Resources)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

EPHEMERAL, LOADING = 64, 128
MANAGE_MESSAGES = 1 << 13
VIEW_CHANNEL = 1 << 10

_GUILD_LISTS = ("roles", "emojis", "stickers", "features", "members", "threads", "voice_states", "presences")
_MORE_GUILD_LISTS = ("stage_instances", "guild_scheduled_events")
_GUILD_LEVELS = ("premium_tier", "verification_level", "default_message_notifications", "explicit_content_filter")
_MORE_GUILD_LEVELS = ("mfa_level", "nsfw_level", "system_channel_flags", "afk_timeout")


class Refused(Exception):
    """What Discord answers instead: an HTTP status, its own code, and a text."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


@dataclass
class Attachment:
    id: int
    filename: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Look:
    """What a message looked like from ``at`` (monotonic seconds) on."""

    at: float
    content: str
    labels: tuple[str, ...]
    files: tuple[str, ...]
    by_token: bool


@dataclass
class Message:
    id: int
    channel_id: int
    flags: int = 0
    content: str = ""
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    nonce: str | None = None
    interaction_id: int | None = None
    looks: list[Look] = field(default_factory=list)
    is_deleted: bool = False

    @property
    def buttons(self) -> dict[str, str]:
        """Custom ids of the buttons by label; those that are greyed out are left out."""
        rows = [row["components"] for row in self.components]
        return {item["label"]: item["custom_id"] for row in rows for item in row if not item.get("disabled")}

    @property
    def is_ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)


@dataclass
class Interaction:
    id: int
    token: str
    channel_id: int
    user_id: int
    kind: int
    created_at: float
    acknowledged_at: float | None = None
    message: Message | None = None
    source: Message | None = None


def user(user_id: int, *, bot: bool = False) -> dict[str, Any]:
    name = "Painter" if bot else f"user{user_id}"
    return {"id": str(user_id), "username": name, "discriminator": "0", "avatar": None, "global_name": name, "bot": bot}


def member(user_id: int, permissions: int) -> dict[str, Any]:
    joined = "2026-01-01T00:00:00+00:00"
    known = {"user": user(user_id), "roles": [], "joined_at": joined, "deaf": False, "mute": False, "flags": 0}
    return {**known, "permissions": str(permissions | VIEW_CHANNEL)}


def channel(channel_id: int, guild_id: int) -> dict[str, Any]:
    known: dict[str, Any] = {"type": 0, "name": "pictures", "position": 0, "nsfw": False, "permission_overwrites": []}
    return {**known, "id": str(channel_id), "guild_id": str(guild_id)}


def guild(guild_id: int, channel_id: int) -> dict[str, Any]:
    lists: dict[str, Any] = {name: [] for name in _GUILD_LISTS + _MORE_GUILD_LISTS}
    levels = dict.fromkeys(_GUILD_LEVELS + _MORE_GUILD_LEVELS, 0)
    known = {"name": "Painters", "owner_id": "400", "member_count": 3, "large": False, "unavailable": False}
    return {
        **lists,
        **levels,
        **known,
        "id": str(guild_id),
        "preferred_locale": "en-US",
        "channels": [channel(channel_id, guild_id)],
    }


def application(application_id: int) -> dict[str, Any]:
    known = {"name": "Painter", "icon": None, "description": "", "owner": user(400), "bot_public": True, "team": None}
    return {**known, "id": str(application_id), "bot_require_code_grant": False, "verify_key": "0" * 64, "flags": 0}


def message_document(item: Message, application_id: int, asked_by: int | None) -> dict[str, Any]:
    """A message as it is read; ``asked_by`` is the user whose interaction it answers."""
    attachments = [
        {"id": str(file.id), "filename": file.filename, "size": len(file.content), "url": "", "proxy_url": ""}
        for file in item.attachments
    ]
    about: dict[str, Any] = {"id": str(item.id), "channel_id": str(item.channel_id), "content": item.content}
    if asked_by is not None:
        metadata = {"id": str(item.interaction_id), "type": 2, "user": user(asked_by)}
        about["interaction_metadata"] = {**metadata, "authorizing_integration_owners": {}}
    plain = {"type": 0, "edited_timestamp": None, "tts": False, "mention_everyone": False, "pinned": False}
    return {
        **plain,
        **{name: [] for name in ("mentions", "mention_roles", "embeds")},
        **about,
        "author": user(application_id, bot=True),
        "timestamp": "2026-01-01T00:00:00+00:00",
        "attachments": attachments,
        "flags": item.flags,
        "components": item.components,
        "nonce": item.nonce,
    }

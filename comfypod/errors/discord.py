"""The Discord bot does not do what somebody asked of it, or cannot work at all."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class DiscordError(ComfyPodError):
    """The Discord bot cannot work, or Discord does not do what it asks."""


class DiscordTokenRefused(DiscordError):
    """Discord does not know the bot's token."""

    code = "discord_token_refused"

    def __str__(self) -> str:
        return (
            "Discord refused DISCORD_TOKEN; copy the bot's token anew from https://discord.com/developers/applications "
            "(your application, Bot, Reset Token)"
        )


@dataclass(eq=False)
class DiscordUnavailable(ErrorWithFields, DiscordError):
    """Discord cannot be reached, or does not answer as it should; ``cause`` is a clause."""

    code = "discord_unavailable"
    retryable = True
    cause: str

    def __str__(self) -> str:
        return f"Discord cannot be used now: {self.cause}; try again later"


@dataclass(eq=False)
class DiscordRefused(ErrorWithFields, DiscordError):
    """Discord does not allow what the bot does; ``cause`` is what it says."""

    code = "discord_refused"
    cause: str

    def __str__(self) -> str:
        return (
            f"Discord does not allow it: {self.cause}; invite the bot again with the scopes bot and "
            "applications.commands, and let it see the channel, send messages and attach files"
        )


@dataclass(eq=False)
class TextRefused(ErrorWithFields, DiscordError):
    """The content rules do not allow a text; ``reason`` is what its author is told, ``rule`` what the log says."""

    code = "text_refused"
    rule: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class ButtonRefused(ErrorWithFields, DiscordError):
    """Somebody clicked what is not theirs, or no longer there; ``reason`` is a sentence."""

    code = "button_refused"
    reason: str

    def __str__(self) -> str:
        return self.reason

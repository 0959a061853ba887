"""Whose a message is when several prompts share one websocket, without I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from comfypod.comfyui.protocol import preview_metadata

_EXECUTING = '{"type": "executing"'


class MessageRouter:
    """Names the prompts that a message may concern; each `PromptSession` looks closer.

    Old previews, and the greeting of a client that comes back, name no prompt. ComfyUI runs one prompt at a time and
    tells everything in order, so they are of the prompt that the message before was about. Call `connected` for every
    new websocket, since something was missed before: until a message names a prompt, they may be of any.
    """

    def __init__(self) -> None:
        self._newest: str | None = None

    def connected(self) -> None:
        """A new websocket begins."""
        self._newest = None

    def recipients(self, raw: str | bytes, prompt_ids: Collection[str]) -> Sequence[str]:
        """Those of ``prompt_ids`` that ``raw`` is for; none for what is for everybody, or for others."""
        if isinstance(raw, bytes):
            metadata = preview_metadata(raw)
            return self._of_the_newest(prompt_ids) if metadata is None else _named(metadata, prompt_ids)
        if named := _named(raw, prompt_ids):
            self._newest = named[-1]
            return named
        if raw.startswith(_EXECUTING) and '"prompt_id"' not in raw:
            return self._of_the_newest(prompt_ids)
        return ()

    def _of_the_newest(self, prompt_ids: Collection[str]) -> Sequence[str]:
        if self._newest is None:
            return tuple(prompt_ids)
        return (self._newest,) if self._newest in prompt_ids else ()


def _named(text: str, prompt_ids: Collection[str]) -> Sequence[str]:
    # Searched and not parsed: cheap, and enough, as the ids are UUIDs.
    return [prompt_id for prompt_id in prompt_ids if prompt_id in text]

"""How long a client of ComfyUI bears what, and how a prompt is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client bears what, in seconds.

    Attributes:
        silence_seconds: no message at all; then queue and history are asked, since a message may have been lost.
        reconnect_seconds: nobody takes connections; then ComfyUI counts as unavailable.
        interrupt_seconds: a prompt that nobody wants goes on; then ComfyUI is condemned.
        stall_seconds: a prompt runs and neither says anything nor logs anything; then it is given up.
    """

    silence_seconds: float = 5.0
    reconnect_seconds: float = 10.0
    interrupt_seconds: float = 10.0
    stall_seconds: float = 300.0

    @property
    def listening_seconds(self) -> float:
        """How long to wait for a message before asking: often enough to see that it is another prompt's turn."""
        return min(self.silence_seconds, self.stall_seconds / 3)


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How a prompt is run: what goes into ``extra_data``, and whether a part of its outputs will do.

    ``ui_workflow`` is kept in the files that it makes, so that ComfyUI's page can open them.
    """

    previews: bool = False
    comfy_org_api_key: str | None = None
    allow_partial: bool = False
    ui_workflow: Mapping[str, Any] | None = None

    def extra_data(self) -> dict[str, Any]:
        """ComfyUI's names for it; ``preview_method`` holds for this prompt only (from ComfyUI 0.5 on)."""
        data: dict[str, Any] = {"preview_method": "auto" if self.previews else "none"}
        if self.comfy_org_api_key:
            data["api_key_comfy_org"] = self.comfy_org_api_key
        if self.ui_workflow is not None:
            data["extra_pnginfo"] = {"workflow": self.ui_workflow}
        return data

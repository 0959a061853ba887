"""The ``progress_state`` of a running prompt, and how a preview travels: the shapes of the messages of one run."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image

# ComfyUI's --preview-size: previews are scaled, up or down, until their longer side has this many pixels.
PREVIEW_PIXELS = 512
PREVIEW_QUALITY = 95

# Binary events, and the image type within event 1 (protocol.py and server.py of ComfyUI).
EVENT_PREVIEW_IMAGE = 1
EVENT_PREVIEW_IMAGE_WITH_METADATA = 4
IMAGE_TYPE_JPEG = 1
IMAGE_TYPE_PNG = 2
# Both formats are encoded with these (send_image in server.py of 0.8.2).
PNG_COMPRESS_LEVEL = 1


class ProgressState:
    """How far each node that has started is. A node that was found in the cache starts as finished."""

    def __init__(self, prompt_id: str) -> None:
        self._prompt_id = prompt_id
        self._nodes: dict[str, dict[str, Any]] = {}

    def start(self, node_id: str) -> None:
        """Book a node as running."""
        self._nodes[node_id] = {"value": 0.0, "max": 1.0, "state": "running", **self.identity(node_id)}

    def advance(self, node_id: str, value: int, maximum: int) -> None:
        """Book the progress that a running node reported."""
        self._nodes[node_id].update(value=value, max=maximum)

    def finish(self, node_id: str) -> None:
        """Book a node as finished, whether it ran or not."""
        known = self._nodes.get(node_id)
        maximum = known["max"] if known is not None else 1
        self._nodes[node_id] = {"value": maximum, "max": maximum, "state": "finished", **self.identity(node_id)}

    def identity(self, node_id: str) -> dict[str, Any]:
        """Return the fields that name a node here and in the metadata of a preview."""
        return {
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    def message(self) -> dict[str, Any]:
        """Return the data of ``progress_state``: every node that has started so far."""
        return {"prompt_id": self._prompt_id, "nodes": dict(self._nodes)}


@dataclass(frozen=True, slots=True)
class SentImage:
    """An image on its way to a client; ``image_type`` is `IMAGE_TYPE_JPEG` or `IMAGE_TYPE_PNG`."""

    image_type: int
    content: bytes

    def frame(self) -> bytes:
        """Return the frame of event 1: event, image type, image."""
        return struct.pack(">II", EVENT_PREVIEW_IMAGE, self.image_type) + self.content

    def frame_with_metadata(self, identity: dict[str, Any]) -> bytes:
        """Return the frame of event 4: event, length of the metadata, metadata, image."""
        content_type = "image/png" if self.image_type == IMAGE_TYPE_PNG else "image/jpeg"
        metadata = json.dumps({**identity, "image_type": content_type}).encode()
        return struct.pack(">II", EVENT_PREVIEW_IMAGE_WITH_METADATA, len(metadata)) + metadata + self.content


def encode_preview(image: Image.Image) -> SentImage:
    """Return a preview as JPEG, scaled to `PREVIEW_PIXELS`."""
    scale = PREVIEW_PIXELS / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = (
        image.convert("RGB") if size == image.size else image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    )
    buffer = io.BytesIO()
    scaled.save(buffer, format="JPEG", quality=PREVIEW_QUALITY)
    return SentImage(IMAGE_TYPE_JPEG, buffer.getvalue())


def encode_picture(image: Image.Image) -> SentImage:
    """Return a finished picture as PNG, as it is."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=PNG_COMPRESS_LEVEL)
    return SentImage(IMAGE_TYPE_PNG, buffer.getvalue())

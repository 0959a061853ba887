"""From ComfyUI's output files to what the caller receives."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import warnings
from collections.abc import Sequence

from PIL import Image

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile, PromptResult
from comfypod.errors import NoOutput, OutputTooLarge
from comfypod.schema.artifact import Artifact, content_type_of
from comfypod.schema.job import OutputSelection
from comfypod.schema.output import TextOutput
from comfypod.schema.workflow import Workflow


def select(result: PromptResult, selection: OutputSelection) -> tuple[list[OutputFile], list[TextOutput]]:
    """The files and texts that the caller asked for.

    Raises:
        NoOutput: there is none.
    """
    wanted = selection.nodes
    mine = [file for file in result.files if wanted is None or file.node_id in wanted]
    files = [file for file in mine if file.type == "output" or (selection.temporary and file.type == "temp")]
    texts = [text for text in result.texts if wanted is None or text.node_id in wanted]
    if not files and not texts:
        raise NoOutput(temporary_files=len(mine))
    return files, texts


async def deliver_inline(
    http: ComfyUIHTTP, workflow: Workflow, files: Sequence[OutputFile], limit_bytes: int
) -> list[Artifact]:
    """Fetch the files and put them into the answer as base64.

    Raises:
        OutputTooLarge: together they would exceed ``limit_bytes``; found out before any of them is fetched.
    """
    size_bytes = sum([4 * -(-await http.file_size(file) // 3) for file in files])
    if size_bytes > limit_bytes:
        raise OutputTooLarge(size_bytes, limit_bytes)
    return [
        # Hashing and encoding large files would hold up the event loop.
        await asyncio.to_thread(_artifact, file, workflow.title(file.node_id), await http.fetch(file))
        for file in files
    ]


def _artifact(file: OutputFile, node_title: str | None, content: bytes) -> Artifact:
    content_type = content_type_of(file.filename)
    width, height = _image_size(content) if content_type.startswith("image/") else (None, None)
    return Artifact(
        node_id=file.node_id,
        node_title=node_title,
        index=file.index,
        filename=file.filename,
        subfolder=file.subfolder,
        type="base64",
        data=base64.b64encode(content).decode("ascii"),
        content_type=content_type,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        width=width,
        height=height,
    )


def _image_size(content: bytes) -> tuple[int | None, int | None]:
    """Width and height from the header; nothing is decoded. (None, None) for what Pillow does not know."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None, None

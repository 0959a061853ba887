"""The program that speaks to Hugging Face through huggingface_hub, in a process of its own.

Run by `comfypod.storage.models.hub` by its path; it imports nothing of this package. A process can be ended at any
moment, which a thread in the Hub's Rust code cannot; and its environment and memory are nobody else's.

It reads one request, a line of JSON, and answers in lines of JSON: any number of ``{"received": BYTES}``, then
``{"result": {…}}`` or ``{"error": {"kind": …, "status": …}}``. It ends when its input closes, which happens when the
process that started it dies.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

REPORT_SECONDS = 0.25


def main() -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _answer(_result_or_error(request))
    except ModuleNotFoundError:
        _answer({"error": {"kind": "NotInstalled", "status": None}})


def _result_or_error(request: Mapping[str, Any]) -> dict[str, Any]:
    import httpx2  # noqa: PLC0415 (imported late: what is missing here is to be told, too)
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return {"result": _download(request) if "folder" in request else _metadata(request)}
    except HfHubHTTPError as error:
        return {"error": {"kind": type(error).__name__, "status": error.response.status_code}}
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:  # RuntimeError and ValueError: hf_xet's
        return {"error": {"kind": type(error).__name__, "status": None}}


def _metadata(request: Mapping[str, Any]) -> dict[str, Any]:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415

    endpoint, revision = request["endpoint"], request["revision"]
    url = hf_hub_url(request["repository"], request["file"], revision=revision, endpoint=endpoint)
    found = get_hf_file_metadata(url, token=request["token"] or False, timeout=request["timeout"], endpoint=endpoint)
    commit = found.commit_hash or revision
    return {
        "url": hf_hub_url(request["repository"], request["file"], revision=commit, endpoint=endpoint),
        "commit": commit,
        "size_bytes": found.size,
        # Of files in LFS and Xet the ETag is the SHA-256; of the small others it is git's own hash.
        "sha256": found.etag if found.etag and re.fullmatch(r"[0-9a-f]{64}", found.etag) else None,
        "xet": found.xet_file_data is not None,
    }


def _download(request: Mapping[str, Any]) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    path = hf_hub_download(
        request["repository"],
        request["file"],
        revision=request["revision"],
        local_dir=request["folder"],
        token=request["token"] or False,
        endpoint=request["endpoint"],
        tqdm_class=_Report,
    )
    return {"path": path}


class _Report:
    """What huggingface_hub takes for a progress bar; it has those methods of one that the Xet download calls."""

    def __init__(self, *, total: int | None = None, **_: object) -> None:
        self.total = total
        self.n = 0
        self._told_at = 0.0

    def update(self, count: float = 1) -> None:
        """Bytes that are on the disk."""
        self.n += int(count)
        self._tell()

    def update_transfer(self, _count: float) -> None:
        """Bytes that came over the network; not counted, for they may be compressed, but a sign of life."""
        self._tell()

    def _tell(self) -> None:
        if time.monotonic() - self._told_at >= REPORT_SECONDS:
            self._told_at = time.monotonic()
            _answer({"received": self.n})

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """The speed, as a text."""

    set_transfer_postfix_str = set_postfix_str

    def close(self) -> None:
        """The download is over."""
        self._told_at = 0.0
        self._tell()


def _answer(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 (the pipe to the process that asked)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()

"""Pages that commands write for people."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from comfypod.errors import SavingFailed


def write_page(path: Path, page: str) -> None:
    """Write a page, in a folder that is made if need be: it is there whole, or as it was before.

    Raises:
        SavingFailed: it could not be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, "utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise SavingFailed(str(path), error.strerror or str(error), "name another place with --output") from error

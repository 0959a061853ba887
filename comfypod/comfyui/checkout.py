"""A ComfyUI in a folder of this machine: its interpreter, and which version it is."""

from __future__ import annotations

import re
from pathlib import Path

COMMIT_FILE = ".comfypod-commit"
"""Written by ``comfypod comfyui install`` when all files of a commit are there; a checkout by git has none."""
FILES_FILE = ".comfypod-files"
"""Every file that an installation has put there, or was about to: a list, as JSON."""

_VERSION = re.compile(r"""__version__\s*=\s*["']([\w.+-]+)["']""")


def checkout_python(checkout: Path) -> Path | None:
    """The interpreter of the checkout's own virtual environment; None if it has none, or there is no checkout."""
    if not (checkout / "main.py").is_file():
        return None
    candidates = (checkout / folder / "bin" / "python" for folder in (".venv", "venv"))
    return next((path for path in candidates if path.exists()), None)


def checkout_version(checkout: Path) -> str | None:
    """The version that a checkout says it is (``comfyui_version.py``), None if it does not say."""
    try:
        text = (checkout / "comfyui_version.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = _VERSION.search(text)
    return found[1] if found else None


def installed_commit(checkout: Path) -> str | None:
    """The commit that ``comfypod comfyui install`` put there; None if it did not, or not to the end."""
    try:
        text = (checkout / COMMIT_FILE).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return text if (checkout / "main.py").is_file() else None


def is_unfinished(checkout: Path) -> bool:
    """Whether an installation there was broken off; calling it again goes on with it."""
    return (checkout / FILES_FILE).is_file() and not (checkout / COMMIT_FILE).is_file()

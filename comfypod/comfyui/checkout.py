"""A checkout of ComfyUI on this machine."""

from __future__ import annotations

from pathlib import Path


def checkout_python(checkout: Path) -> Path | None:
    """The interpreter of the checkout's own virtual environment; None if it has none, or there is no checkout."""
    if not (checkout / "main.py").is_file():
        return None
    candidates = (checkout / folder / "bin" / "python" for folder in (".venv", "venv"))
    return next((path for path in candidates if path.exists()), None)

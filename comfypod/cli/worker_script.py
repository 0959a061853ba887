"""The program that RunPod starts as a worker, and with it the repository it belongs to."""

from __future__ import annotations

from pathlib import Path

import comfypod
from comfypod.errors import ConfigurationError

WORKER_SCRIPT = Path("rp_handler.py")


def worker_script() -> Path:
    """``rp_handler.py``: here, else beside the package, as in a checkout and in the image.

    Raises:
        ConfigurationError: there is none.
    """
    for folder in (Path(), Path(comfypod.__file__).parents[1]):
        if (folder / WORKER_SCRIPT).is_file():
            return (folder / WORKER_SCRIPT).resolve()
    raise ConfigurationError([f"There is no {WORKER_SCRIPT} here, and none beside the package; go to the repository."])

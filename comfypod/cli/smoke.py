"""``comfypod smoke``: the result of the smoke test on stdout, ComfyUI's log on stderr."""

from __future__ import annotations

import os
from pathlib import Path

from comfypod.cli.reports import print_text
from comfypod.image.smoke import run_smoke_test


def run_smoke() -> None:
    """Test the repository in the current folder, and print one line.

    Raises:
        SmokeTestFailed, ComfyUIUnavailable, ConfigurationError: see `run_smoke_test`.
    """
    print_text(str(run_smoke_test(Path.cwd(), os.environ)))

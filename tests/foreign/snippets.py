"""What docs/how-to/use-runpods-own-clients.md tells people to run, as it stands there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.foreign.clients import EndpointAddress, own_environment

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-runpods-own-clients.md"


def snippet(heading: str) -> str:
    """The first block of code below a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    found = re.search(r"^```\w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def picture_of(command: Sequence[str], endpoint: EndpointAddress, folder: Path) -> tuple[int, int]:
    """Run a snippet in ``folder`` as the page says, and return the size of the one picture that it saves there."""
    environment = own_environment(
        HOME=str(folder),
        RUNPOD_ENDPOINT_BASE_URL=endpoint.base_url,
        ENDPOINT_ID=endpoint.endpoint_id,
        RUNPOD_API_KEY=endpoint.api_key,
    )
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.png")
    with Image.open(path) as image:
        return image.size

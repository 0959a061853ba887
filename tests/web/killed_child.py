"""Submits one prompt and waits until it is killed; prints the run's id. Arguments: endpoint's address, folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from comfypod import Client
from tests.cloud.scripted_runpod import API_KEY, ENDPOINT_ID
from tests.web.run_site import PROMPT, VISITOR, runs_at


async def main(base_url: str, folder: Path) -> None:
    with Client(ENDPOINT_ID, API_KEY, base_url) as client:
        async with runs_at(client, folder) as runs:
            print((await runs.submit(VISITOR, PROMPT)).id, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

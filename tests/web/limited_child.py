"""Runs a prompt where files can only be small, and prints how it ends. Arguments: endpoint's address, folder."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from comfypod import Client
from comfypod.errors import SavingFailed
from tests.cloud.scripted_runpod import API_KEY, ENDPOINT_ID
from tests.web.run_site import PROMPT, VISITOR, ended, runs_at

LARGEST_FILE_BYTES = 20_000


async def main(base_url: str, folder: Path) -> None:
    with Client(ENDPOINT_ID, API_KEY, base_url) as client:
        async with runs_at(client, folder) as runs:
            done = await ended(runs, await runs.submit(VISITOR, PROMPT))
            told = {"first": done.to_json()}
            try:
                node = {"class_type": "Long", "inputs": {"text": "x" * 2 * LARGEST_FILE_BYTES}}
                await runs.submit(VISITOR, {"workflow": {"1": node}})
            except SavingFailed as error:
                told["second"] = str(error)
            told["listed"] = len((await runs.list(VISITOR)).runs)
            print(json.dumps(told))


if __name__ == "__main__":
    # Python ignores SIGXFSZ, so a file that would grow larger is an OSError, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES))
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

"""Makes the pictures of `comfypod up`: the page in front of the whole chain, and what it prints.

From the root of the repository, with a Chromium that playwright finds or COMFYPOD_CHROMIUM names:

    .venv/bin/python -m docs.images.up_pictures
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright, expect

from docs.images.web_pictures import PROMPT, SIZE, WIDE, save
from tests.browser.conftest import HOW, chromium
from tests.browser.workplace import Watch, Workplace

FOLDER = Path(__file__).parent
PAGE = "http://127.0.0.1:8765/"
STEPS = 40


async def take_picture() -> None:
    """The page, whose requests go through gateway, store and master."""
    async with async_playwright() as playwright:
        program = chromium(playwright)
        if program is None:
            raise SystemExit(HOW)
        browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
        context = await browser.new_context(color_scheme="light", **WIDE)
        work = Workplace(await context.new_page(), PAGE, Watch())
        await work.open()
        await work.fill({"Prompt": PROMPT, **SIZE, "Steps": STEPS})
        await work.run()
        await work.page.wait_for_function(
            "() => Number(document.querySelector('[role=progressbar][aria-valuenow]')?.ariaValueNow) > 35"
        )
        await expect(work.stage.get_by_role("img", name="Preview of ")).to_be_visible()
        await work.page.wait_for_timeout(800)
        await save(work.page, "service")
        await work.expect_picture(PROMPT)
        await browser.close()


def main() -> None:
    """Run the chain, and picture it from both sides."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(FOLDER / "terminal_picture.py"), str(FOLDER / "up.svg")]
        command += ["--until", "ready http", "--", "comfypod", "up", "--local"]
        subprocess.run(command, check=True)  # noqa: S603
        chain = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "comfypod", "up", "--local", "--folder", folder], stdout=subprocess.PIPE, text=True
        )
        try:
            while chain.stdout and not chain.stdout.readline().startswith("ready "):
                pass
            asyncio.run(take_picture())
        finally:
            chain.terminate()
            chain.communicate()


if __name__ == "__main__":
    main()

"""Makes the pictures of batches: a plan, a batch while it is made, and the report of one under fire.

From the root of the repository, with a Chromium that playwright finds or COMFYPOD_CHROMIUM names; some five minutes:

    .venv/bin/python -m docs.images.batch_pictures
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.async_api import async_playwright

from comfypod.batch.figures import figures
from comfypod.batch.report.page import report_page
from docs.images.web_pictures import save_window
from tests.batch.system.trial import Trial, endure
from tests.batch.system.wanted import Wanted
from tests.browser.conftest import HOW, chromium

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
TEMPLATE = ("--template", "text_to_image", "--models-toml", str(ROOT / "models.toml"))
WINDOW = {"width": 1100, "height": 900}
TRIAL = Trial(Wanted(300), away_seconds=20, restart_at=0.55, seconds=900)
COMMAND_SECONDS = 300
ENOUGH = 12


def main() -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = write_table(folder / "ten-thousand.csv", 10_000, side=1024, steps=20)
        few = write_table(folder / "forty.csv", 40, side=256, steps=40)
        plan = ["batch", "plan", many.name, *TEMPLATE, "--deadline", "6h"]
        title = f"batch plan {many.name} --template text_to_image --deadline 6h"
        draw_terminal(folder, "batch-plan.svg", title, plan, columns=170)
        watch(folder, few)
        report(folder / "trial")


def write_table(path: Path, items: int, *, side: int, steps: int) -> Path:
    """The tutorial's table."""

    def lines() -> Iterator[str]:
        yield "name,prompt,seed,width,height,steps"
        for number in range(1, items + 1):
            yield f"picture-{number},{number % 5 + 1} yellow stars on night,{number},{side},{side},{steps}"

    path.write_text("\n".join(lines()) + "\n")
    return path


def draw_terminal(
    folder: Path, name: str, title: str, arguments: Sequence[str], *, columns: int, until: str | None = None
) -> None:
    """What a person would see of a command in this folder."""
    command = [sys.executable, str(FOLDER / "terminal_picture.py"), str(FOLDER / name), "--columns", str(columns)]
    command += ["--title", f"comfypod {title}", *(["--until", until] if until else [])]
    command += ["--", sys.executable, "-m", "comfypod", *arguments]
    subprocess.run(command, check=True, cwd=folder, timeout=COMMAND_SECONDS)  # noqa: S603


def watch(folder: Path, table: Path) -> None:
    """A batch when something of it is made, and something is not."""
    command = [sys.executable, "-m", "comfypod", "batch"]
    run = [*command, "run", table.name, *TEMPLATE, "--local"]
    with subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        deadline = time.monotonic() + COMMAND_SECONDS
        while made(folder, [*command, "status", "--json"]) < ENOUGH and time.monotonic() < deadline:
            time.sleep(0.5)
        draw_terminal(folder, "batch-watch.svg", "batch watch", ["batch", "watch"], columns=110, until=" rented ")
        process.wait(COMMAND_SECONDS)


def made(folder: Path, status: Sequence[str]) -> int:
    """How many items there are already."""
    asked = subprocess.run(status, check=False, cwd=folder, capture_output=True, text=True)  # noqa: S603
    return int(json.loads(asked.stdout)["items"]["succeeded"]) if asked.stdout.strip() else 0


def report(folder: Path) -> None:
    """The beginning of the report of a batch whose pods are struck."""
    outcome = endure(TRIAL, folder)
    if problems := outcome.problems():
        raise SystemExit("\n".join(problems))
    page = folder / "report.html"
    page.write_text(report_page(outcome.account, figures(outcome.account)), "utf-8")
    asyncio.run(picture_page(page))


async def picture_page(path: Path) -> None:
    async with async_playwright() as playwright:
        program = chromium(playwright)
        if program is None:
            raise SystemExit(HOW)
        browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
        context = await browser.new_context(color_scheme="light", viewport=WINDOW, device_scale_factor=2)
        page = await context.new_page()
        await page.goto(path.as_uri())
        await save_window(page, "batch-report.png")
        await browser.close()


if __name__ == "__main__":
    main()

"""Makes the pictures of the page in this folder, from the real chain: page, server, local RunPod, worker, engine.

From the root of the repository, with a Chromium that playwright finds or COMFYPOD_CHROMIUM names:

    .venv/bin/python -m docs.images.web_pictures
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.chain import FAILING, Chain, file_of, workflow
from tests.browser.conftest import HOW, chromium
from tests.browser.workplace import Watch, Workplace

FOLDER = Path(__file__).parent
MOST_BYTES = 400_000
BITS = (8, 7, 6, 5)
"""Of each colour, the fewest last: a soft preview has more colours than eyes see."""
WIDE: Mapping[str, Any] = {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 2}
PHONE: Mapping[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
EARLIER = ("a white moon on night", "a green tree and a house with a red roof at sunset", "a red circle on blue")
PROMPT = "three yellow stars on night, a green tree on a hill"
SIZE = {"Width": 1024, "Height": 768}


async def take_pictures(browser: Browser, chain: Chain) -> None:
    """All of them, one after the other."""
    work = await opened(browser, chain, **WIDE)
    await save(work.page, "start")
    for prompt in EARLIER:
        await made(work, prompt, Steps=8)
    await work.fill({"Prompt": PROMPT, "Steps": 40})
    await fold(work)
    await work.run()
    await work.page.wait_for_function(
        "() => Number(document.querySelector('[role=progressbar][aria-valuenow]')?.ariaValueNow) > 35"
    )
    await expect(work.stage.get_by_role("img", name="Preview of ")).to_be_visible()
    await work.page.wait_for_timeout(800)  # the preview fades in
    await save(work.page, "running")
    await work.expect_picture(PROMPT)
    await expect(work.page.get_by_role("button", name="Endpoint: Ready")).to_be_visible()
    await work.page.wait_for_timeout(1500)
    await save(work.page, "result")
    await work.page.emulate_media(color_scheme="dark")
    await work.page.wait_for_timeout(800)
    await save(work.page, "dark")
    await work.page.emulate_media(color_scheme="light")
    await work.open_workflow(
        file_of(workflow(FAILING, title="Upscale the picture", prompt=PROMPT), "Poster in two steps.json")
    )
    await work.run()
    await expect(work.stage.get_by_role("alert")).to_be_visible()
    await work.page.wait_for_timeout(800)
    await save(work.page, "error")
    phone = await opened(browser, chain, **PHONE)
    await made(phone, PROMPT, Width=768, Height=768)
    await phone.page.evaluate("() => scrollTo(0, 0)")
    await phone.page.wait_for_timeout(1500)
    await save(phone.page, "phone")


async def opened(browser: Browser, chain: Chain, **options: Any) -> Workplace:  # noqa: ANN401 (Playwright's own)
    """The page as a new visitor sees it."""
    context = await browser.new_context(color_scheme="light", **options)
    work = Workplace(await context.new_page(), chain.url, Watch())
    await work.open()
    await expect(work.page.get_by_role("button", name="Endpoint: Ready")).to_be_visible()
    await work.page.wait_for_timeout(500)
    return work


async def made(work: Workplace, prompt: str, **values: int) -> None:
    """A picture in the gallery."""
    await work.fill({"Prompt": prompt, **SIZE, **values})
    run_id = await work.run()
    await work.page.wait_for_url(f"**/#/runs/{run_id}")
    await work.expect_picture(prompt)


async def fold(work: Workplace) -> None:
    """Close what was opened, and go back to the top."""
    await work.settings.get_by_text("More settings").click()
    await work.field("Workflow").scroll_into_view_if_needed()
    await work.field("Prompt").blur()


async def save(page: Page, name: str) -> None:
    """A picture of the page's window; see `save_window`."""
    await save_window(page, f"web-{name}.png")


async def save_window(page: Page, file_name: str) -> None:
    """A picture of the window, small enough to be kept.

    Raises:
        ValueError: it is too large.
    """
    await page.mouse.move(640, 8)  # nothing is to look as if it were about to be pressed
    await page.wait_for_timeout(300)
    with Image.open(io.BytesIO(await page.screenshot())) as picture:
        sizes = (_png(ImageOps.posterize(picture.convert("RGB"), bits)) for bits in BITS)
        content = next((content for content in sizes if len(content) <= MOST_BYTES), None)
    if content is None:
        raise ValueError(f"{file_name} is too large")
    (FOLDER / file_name).write_bytes(content)
    print(f"{file_name}: {len(content):,} bytes")


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder))
        try:
            await asyncio.to_thread(chain.start)
            async with async_playwright() as playwright:
                program = chromium(playwright)
                if program is None:
                    raise SystemExit(HOW)
                browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
                await take_pictures(browser, chain)
                await browser.close()
        finally:
            await asyncio.to_thread(chain.stop)


if __name__ == "__main__":
    asyncio.run(main())

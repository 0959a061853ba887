"""The report of a batch in a real browser: complete by itself, fit for everybody, by day, by night, on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from comfypod.batch.figures import figures
from comfypod.batch.report.page import report_page
from tests.batch.report.accounts import finished_account
from tests.browser.workplace import axe_findings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_a_report_is_whole_and_readable(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    account = finished_account()
    path = tmp_path / "report.html"
    path.write_text(report_page(account, figures(account)), "utf-8")
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        bypass_csp=True,  # for axe's script alone: that the page runs none is tested without a browser
    )
    page = await context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
    await page.goto(path.as_uri())
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await axe_findings(page) == []
    assert wrong == []
    await context.close()

"""The page as its users know it: things with names, found by role; and a watch over what the browser does meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    expect,
)

PATIENCE_MILLISECONDS = 30_000
"""Longest wait for anything in here; far more than any of it takes."""
expect.set_options(timeout=PATIENCE_MILLISECONDS)
_AXE = Axe().axe_script
_TEXTS = ("text/", "application/json", "application/javascript", "application/manifest+json")
_SETTLED = """() => Promise.all(document.getAnimations()
  .filter((animation) => animation.effect.getComputedTiming().endTime !== Infinity)
  .map((animation) => animation.finished.catch(() => null)))"""
_ENTER_FILE = """([text, name, type]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""


class Watch:
    """What must not happen in any test: errors, dialogs, requests to elsewhere, the key in an answer."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Parts of messages in the console that the test brings about."""
        self._answers: list[Response] = []
        self._texts: list[str] = []

    def follow(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # A run may end between the event that tells of a preview and the request for it; the page bears that.
        is_late_preview = "/preview?number=" in message.location["url"] and "404" in message.text
        is_expected = is_late_preview or any(part in message.text for part in self.expected)
        if message.type == "error" and not is_expected:
            self.problems.append(f"console: {message.text} {message.location['url']}")

    def _error(self, error: WebError) -> None:
        self.problems.append(f"uncaught: {error.error}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname != "127.0.0.1":
            self.problems.append(f"request to elsewhere: {request.url}")

    def _response(self, answer: Response) -> None:
        self._answers.append(answer)

    async def bodies(self) -> None:
        """Fetch what the answers said, while the browser still has them."""
        for answer in self._answers:
            content_type = answer.headers.get("content-type", "")
            if "/static/" in answer.url or not content_type.startswith(_TEXTS) or "event-stream" in content_type:
                continue  # files of the package; bytes; what never ends
            try:
                self._texts.append(f"{answer.headers} {await answer.text()}")
            except Error:  # the browser keeps no body of what was cut off, or that nobody had asked for
                self._texts.append(str(answer.headers))
        self._answers.clear()

    def check(self, key: str) -> None:
        if self.problems:
            raise AssertionError("\n".join(self.problems))
        if any(key in text for text in self._texts):
            raise AssertionError("the key is in an answer")


class Workplace:
    """The page in one tab."""

    def __init__(self, page: Page, url: str, watch: Watch) -> None:
        self.page = page
        self.url = url
        self.watch = watch
        self.settings = page.get_by_role("region", name="Settings")
        self.gallery = page.get_by_role("region", name="Gallery")
        self.stage = page.locator("#stage")  # its name is the title of the run on it
        self.run_button = page.get_by_role("button", name="Run", exact=True)
        self.progress = page.get_by_role("progressbar", name="Progress of the run")
        self.download = page.get_by_role("link", name="Download")

    async def open(self) -> None:
        await self.page.goto(self.url)
        await expect(self.run_button).to_be_enabled()
        await expect(self.page.get_by_role("button", name="Endpoint: ")).to_be_visible()

    async def another_tab(self) -> Workplace:
        work = Workplace(await self.page.context.new_page(), self.url, self.watch)
        await work.open()
        return work

    def field(self, label: str) -> Locator:
        return self.settings.get_by_label(label, exact=True)

    async def fill(self, values: Mapping[str, str | int]) -> None:
        for label, value in values.items():
            field = self.field(label)
            if not await field.is_visible():
                await self.settings.get_by_text("More settings").click()
            await field.fill(str(value))

    async def open_workflow(self, file: Any) -> None:
        """Choose a workflow's file, as with the mouse."""
        async with self.page.expect_file_chooser() as choosing:
            await self.page.get_by_role("button", name="Open a workflow").click()
        await (await choosing.value).set_files(file)
        name = str(file["name"]).removesuffix(".json")
        await expect(self.settings.get_by_text(name, exact=True)).to_be_visible()

    async def drop(self, target: Locator, file: Mapping[str, Any]) -> None:
        """Let a file fall onto something."""
        text = base64.b64encode(file["buffer"]).decode()
        transfer = await self.page.evaluate_handle(_ENTER_FILE, [text, file["name"], file["mimeType"]])
        for event in ("dragenter", "dragover", "drop"):
            await target.dispatch_event(event, {"dataTransfer": transfer})

    async def run(self) -> str:
        """Run what is in the form; the run's id."""
        async with self.page.expect_response(lambda answer: answer.url.endswith("/api/runs")) as answering:
            await self.run_button.click()
        answer = await answering.value
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["id"])

    def picture(self, title: str) -> Locator:
        """The picture itself on the stage, not a preview."""
        return self.stage.get_by_role("img", name=title, exact=True)

    async def expect_picture(self, title: str) -> None:
        await expect(self.download).to_be_visible()
        await expect(self.picture(title)).to_be_visible()
        await self.page.wait_for_function(
            "(title) => [...document.querySelectorAll('#stage img')].some((image) =>"
            " image.alt === title && image.complete && image.naturalWidth > 0)",
            arg=title,
        )

    async def api(self, path: str) -> Any:
        """What the server answers this browser."""
        answer = await self.page.request.get(f"{self.url}api/{path}")
        assert answer.ok, answer.status
        return await answer.json()

    async def violations(self) -> list[str]:
        """What axe-core finds to be wrong for people with disabilities, colours included; one sentence each."""
        await self.page.evaluate(_SETTLED)  # a colour that fades in has little contrast for a moment
        return await axe_findings(self.page)


async def axe_findings(page: Page) -> list[str]:
    """What axe-core finds to be wrong with a page for people with disabilities, colours included; a sentence each."""
    await page.evaluate(_AXE)
    found = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {rule['help']}: {json.dumps([node['html'] for node in rule['nodes']])[:600]}"
        for rule in found["violations"]
    ]

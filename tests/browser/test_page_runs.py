"""From a prompt to its picture in a real browser, and what is seen of it meanwhile."""

from __future__ import annotations

import hashlib
import io
import re
import urllib.error
import urllib.request
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Response, expect

from tests.browser.chain import FAILING, FAILURE, SLOW, Chain, file_of, workflow
from tests.browser.conftest import Opener
from tests.browser.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="module")

MID_RUN = re.compile(r"step \d+ of 10")
PROMPT = "three yellow stars on night"
SMALL = {"Width": 128, "Height": 64, "Steps": 6}
NOTE_PROGRESS = """() => {
  window.seen = [];
  const look = () => {
    const bar = document.querySelector('[role=progressbar][aria-valuenow]');
    if (bar) window.seen.push([Number(bar.getAttribute('aria-valuenow')), bar.getAttribute('aria-valuetext')]);
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
NOTE_SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts.push(entry.value);
  }).observe({ type: 'layout-shift' });
}"""


async def begin_slow_run(work: Workplace, title: str = PROMPT) -> str:
    """A run that takes some seconds, in mid-sampling."""
    await work.open_workflow(file_of(workflow(SLOW, prompt=title, steps=10), "slow.json"))
    run_id = await work.run()
    await expect(work.progress).to_have_attribute("aria-valuetext", MID_RUN)
    return run_id


async def test_a_prompt_becomes_the_picture_that_the_interface_gives(work: Workplace) -> None:
    await work.fill({"Prompt": PROMPT, **SMALL})
    run_id = await work.run()
    await work.expect_picture(PROMPT)
    async with work.page.expect_download() as downloading:
        await work.download.click()
    path = await (await downloading.value).path()
    seen = await work.page.request.get(await work.picture(PROMPT).get_attribute("src") or "")
    (output,) = (await work.api(f"runs/{run_id}"))["outputs"]
    given = await work.page.request.get(f"{work.url}{output['url']}")
    hashes = {
        hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), await seen.body(), await given.body())
    }
    assert len(hashes) == 1
    with Image.open(io.BytesIO(await given.body())) as picture:
        assert picture.size == (128, 64)
        red, green, blue = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert blue > red
    assert blue > green  # a night
    await expect(work.stage.get_by_text("drawn by the built-in engine")).to_be_visible()
    await expect(work.stage.get_by_text("about $")).to_be_visible()
    await expect(work.gallery.get_by_role("link", name=f"{PROMPT}, finished")).to_be_visible()


async def test_progress_rises_previews_change_and_nothing_jumps(work: Workplace) -> None:
    previews: list[Response] = []
    work.page.on("response", lambda answer: previews.append(answer) if "/preview?number=" in answer.url else None)
    await work.page.evaluate(NOTE_PROGRESS)
    await begin_slow_run(work)
    await expect(work.stage.get_by_role("img", name=f"Preview of {PROMPT}")).to_be_visible()
    await work.page.evaluate(NOTE_SHIFTS)
    await work.expect_picture(PROMPT)
    seen: list[tuple[int, str]] = await work.page.evaluate("window.seen")
    values = [value for value, _ in seen]
    assert values == sorted(values)
    assert len(set(values)) >= 3
    texts = " ".join(text for _, text in seen)
    assert "KSampler, step " in texts
    assert " left" in texts
    contents = {await answer.body() for answer in previews if answer.ok}
    assert len(contents) >= 2
    assert sum(await work.page.evaluate("window.shifts")) < 0.02


async def test_cancel_ends_the_run(work: Workplace) -> None:
    run_id = await begin_slow_run(work)
    await work.stage.get_by_role("button", name="Cancel").click()
    await expect(work.progress).to_have_count(0)
    await expect(work.stage.get_by_text("Cancelled").first).to_be_visible()
    run = await work.api(f"runs/{run_id}")
    assert run["state"] == "cancelled"
    assert run["outputs"] == []
    await expect(work.gallery.get_by_role("link", name=f"{PROMPT}, cancelled")).to_be_visible()


async def test_a_failure_names_its_node(work: Workplace) -> None:
    await work.open_workflow(file_of(workflow(FAILING, title="Sampler of bad luck"), "unlucky.json"))
    await work.run()
    card = work.stage.get_by_role("alert")
    await expect(card.get_by_role("heading", name="Sampler of bad luck failed")).to_be_visible()
    await expect(card).to_contain_text(FAILURE)
    await expect(card).to_contain_text(f"Node {FAILING}")
    await expect(work.gallery.get_by_role("link", name=f"{PROMPT}, failed")).to_be_visible()


async def test_a_wrong_value_is_told_beside_its_field(work: Workplace) -> None:
    await work.fill({"Width": 100_000})
    await work.run_button.click()
    field = work.field("Width")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(work.settings.get_by_text("1 setting must be changed first.")).to_be_visible()
    assert (await work.api("runs"))["runs"] == []


async def test_a_reload_in_mid_run_shows_the_run_going_on(work: Workplace) -> None:
    await begin_slow_run(work)
    await work.page.reload()
    await expect(work.progress).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    await work.expect_picture(PROMPT)
    assert len((await work.api("runs"))["runs"]) == 1


async def test_two_tabs_show_one_run(work: Workplace) -> None:
    other = await work.another_tab()
    await begin_slow_run(work)
    await expect(other.progress).to_have_attribute("aria-valuetext", MID_RUN)
    await other.stage.get_by_role("button", name="Cancel").click()
    for tab in (work, other):
        await expect(tab.progress).to_have_count(0)
        await expect(tab.stage.get_by_text("Cancelled").first).to_be_visible()


async def test_several_runs_go_on_at_once(work: Workplace) -> None:
    await begin_slow_run(work, "a red circle on blue")
    await work.fill({"Prompt": "a green tree"})
    await work.run()
    strip = work.page.get_by_role("navigation", name="Runs that go on")
    await expect(strip.get_by_role("link")).to_have_count(2)
    await strip.get_by_role("link", name="a red circle on blue").click()
    await work.expect_picture("a red circle on blue")
    await work.gallery.get_by_role("link", name="a green tree").click()
    await work.expect_picture("a green tree")


async def test_settings_are_reused_and_pictures_compared_and_removed(work: Workplace) -> None:
    first = await run_small(work, "a red circle on blue")
    await run_small(work, "a green tree")
    await work.page.get_by_role("button", name="Compare with the previous picture").click()
    handle = work.stage.get_by_role("slider")
    await handle.press("ArrowRight")
    await expect(handle).to_have_value("51")
    await work.gallery.get_by_role("link", name="a red circle on blue").click()
    await work.page.get_by_role("button", name="Reuse settings").click()
    await expect(work.field("Prompt")).to_have_value("a red circle on blue")
    await expect(work.field("Seed")).to_have_value(str(first["parameters"]["seed"]))
    again = await work.run()
    await work.page.wait_for_url(f"**/#/runs/{again}")
    await work.expect_picture("a red circle on blue")
    assert await content_of(work, again) == await content_of(work, first["id"])
    await work.page.get_by_role("button", name="Remove this run").click()
    await work.page.get_by_role("button", name="Close this notice").first.click()
    await expect(work.gallery.get_by_role("listitem")).to_have_count(2)


async def run_small(work: Workplace, prompt: str) -> dict[str, Any]:
    await work.fill({"Prompt": prompt, **SMALL})
    run_id = await work.run()
    await work.page.wait_for_url(f"**/#/runs/{run_id}")
    await work.expect_picture(prompt)
    return dict(await work.api(f"runs/{run_id}"))


async def content_of(work: Workplace, run_id: str) -> bytes:
    (output,) = (await work.api(f"runs/{run_id}"))["outputs"]
    return await (await work.page.request.get(f"{work.url}{output['url']}")).body()


async def test_the_keyboard_is_enough(work: Workplace) -> None:
    await work.page.keyboard.press("Tab")
    skip = work.page.get_by_role("link", name="Skip to the settings")
    await expect(skip).to_be_focused()
    await work.page.keyboard.press("Enter")
    await expect(work.field("Workflow")).to_be_focused()
    for _ in range(2):
        await work.page.keyboard.press("Tab")
    await expect(work.field("Prompt")).to_be_focused()
    await work.page.keyboard.press("Control+A")
    await work.page.keyboard.type(PROMPT)
    for label, value in (("Width", "128"), ("Height", "128")):
        await tab_to(work, label)
        await work.page.keyboard.press("Control+A")
        await work.page.keyboard.type(value)
    await tab_to(work, "Run")
    await work.page.keyboard.press("Enter")
    await work.expect_picture(PROMPT)
    await tab_to(work, "Zoom")
    await work.page.keyboard.press("Enter")
    dialog = work.page.get_by_role("dialog", name=PROMPT)
    await expect(dialog).to_be_visible()
    await work.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(work.page.get_by_role("button", name="Zoom")).to_be_focused()
    await work.page.keyboard.press("Control+Enter")
    await expect(work.gallery.get_by_role("listitem")).to_have_count(2)


async def tab_to(work: Workplace, name: str) -> None:
    """Press Tab until what has this name is focused; at every stop it is to be seen where one is."""
    name_of = """() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      const isSeen = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
      const label = element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent;
      return [label.trim(), isSeen, element.tagName];
    }"""
    for _ in range(40):
        await work.page.keyboard.press("Tab")
        label, is_seen, tag = await work.page.evaluate(name_of)
        assert is_seen or tag == "BODY", f"the focus on {tag} {label!r} is not to be seen"
        if label == name or (name == "Run" and label.startswith("Run")):
            return
    pytest.fail(f"Tab does not lead to {name}")


async def test_no_visitor_sees_anothers_runs(open_page: Opener, chain: Chain) -> None:
    mine, other = await open_page(), await open_page()
    run = await run_small(mine, PROMPT)
    await other.page.reload()
    await expect(other.run_button).to_be_enabled()
    await expect(other.gallery.get_by_role("listitem")).to_have_count(0)
    answer = await other.page.request.get(f"{chain.url}api/runs/{run['id']}")
    assert answer.status == 404
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{chain.url}{run['outputs'][0]['url']}", timeout=10)  # noqa: S310, ASYNC210

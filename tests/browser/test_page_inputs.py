"""What people give to the page: files, masks, photos, workflows of all kinds, and texts that mean harm."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Locator, expect

from tests.browser.chain import FAILING, file_of, picture_file, workflow
from tests.browser.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED, GREEN = (255, 0, 0), (0, 160, 0)
HARM = "<img src=x onerror=\"alert('harm')\"><script>alert('harm')</script>"
INVERTING: Mapping[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": ""}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
}
# As ComfyUI's own page saves it: only the endpoint knows which widget is which input.
UI_EXPORT: Mapping[str, Any] = {
    "nodes": [
        {
            "id": 1,
            "type": "EmptyImage",
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": [64, 48, 1, 255],
        },
        {
            "id": 2,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "outputs": [],
            "widgets_values": ["blue"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    "last_node_id": 2,
    "last_link_id": 1,
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}


async def inverting(work: Workplace) -> Locator:
    """The field of a workflow that turns the colours of a picture into their opposites."""
    await work.open_workflow(file_of(INVERTING, "inverting.json"))
    return work.settings.get_by_role("group", name="Image")


async def upload(work: Workplace, action: Any) -> dict[str, Any]:
    """What the server says of the file that an action sends."""
    async with work.page.expect_response(lambda answer: "/api/uploads?" in answer.url) as answering:
        await action
    answer = await answering.value
    assert answer.ok, await answer.text()
    return dict(await answer.json())


async def picture_of(work: Workplace, path: str) -> Image.Image:
    answer = await work.page.request.get(f"{work.url}{path}")
    assert answer.ok
    return Image.open(io.BytesIO(await answer.body()))


async def result(work: Workplace, run_id: str) -> dict[str, Any]:
    await expect(work.download).to_be_visible()
    (output,) = (await work.api(f"runs/{run_id}"))["outputs"]
    return dict(output)


async def test_a_dropped_picture_is_what_the_workflow_loads(work: Workplace) -> None:
    field = await inverting(work)
    await work.drop(field.get_by_role("button", name="choose a picture"), picture_file(RED))
    await expect(field.get_by_text("photo.png")).to_be_visible()
    await expect(field.get_by_text("96 × 64")).to_be_visible()  # noqa: RUF001
    output = await result(work, await work.run())
    with await picture_of(work, output["url"]) as picture:
        assert picture.size == (96, 64)
        assert picture.convert("RGB").getpixel((10, 10)) == (0, 255, 255)


async def test_a_picture_may_be_pasted_anywhere(work: Workplace) -> None:
    field = await inverting(work)
    file = picture_file(GREEN, name="pasted.png")
    paste = """([text, name, type]) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], name, { type }));
      const options = { clipboardData: transfer, bubbles: true, cancelable: true };
      document.body.dispatchEvent(new ClipboardEvent('paste', options));
    }"""
    arguments = [base64.b64encode(file["buffer"]).decode(), file["name"], file["mimeType"]]
    sent = await upload(work, work.page.evaluate(paste, arguments))
    await expect(field.get_by_text("pasted.png")).to_be_visible()
    assert (sent["width"], sent["height"]) == (96, 64)


async def test_a_photo_is_taken_with_the_camera(work: Workplace) -> None:
    field = await inverting(work)
    await work.page.context.grant_permissions(["camera"])
    await field.get_by_role("button", name="take a photo").click()
    dialog = work.page.get_by_role("dialog", name="Camera")
    take = dialog.get_by_role("button", name="Take the photo")
    await expect(take).to_be_enabled()
    sent = await upload(work, take.click())
    assert sent["content_type"] == "image/jpeg"
    assert sent["width"] > 0
    await expect(dialog).to_have_count(0)


async def test_what_is_painted_is_the_mask_of_the_picture(work: Workplace) -> None:
    field = await inverting(work)
    await work.drop(field, picture_file(RED, (200, 100)))
    await field.get_by_role("button", name="paint a mask").click()
    dialog = work.page.get_by_role("dialog", name="Mask: photo.png")
    await paint_left_half(work, dialog)
    sent = await upload(work, dialog.get_by_role("button", name="Use this mask").click())
    with await picture_of(work, f"api/uploads/{sent['id']}") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (200, 100))
        assert picture.getpixel((50, 50)) == (*RED, 0)  # masked is transparent, and keeps its colour
        assert picture.getpixel((190, 50)) == (*RED, 255)
    await expect(field.get_by_text("with a mask")).to_be_visible()
    output = await result(work, await work.run())
    assert (output["width"], output["height"]) == (200, 100)


async def paint_left_half(work: Workplace, dialog: Locator) -> None:
    easel = dialog.get_by_role("application", name="Painting area")
    await expect(dialog.get_by_role("button", name="Use this mask")).to_be_enabled()
    await dialog.get_by_role("slider", name="Brush").fill("40")
    box = await easel.bounding_box()
    assert box is not None
    mouse = work.page.mouse
    await mouse.move(box["x"] + box["width"] * 0.15, box["y"] + box["height"] * 0.5)
    await mouse.down()
    await mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.5, steps=5)
    await mouse.up()
    await expect(dialog.get_by_text("% masked")).not_to_have_text("0 % masked")


async def test_a_mask_is_painted_with_the_keyboard_and_taken_back(work: Workplace) -> None:
    masking = {**INVERTING, "4": {"class_type": "LoadImageMask", "inputs": {"image": "", "channel": "red"}}}
    await work.open_workflow(file_of(masking, "masking.json"))
    groups = work.settings.get_by_role("group", name="Image")
    await work.drop(groups.first, picture_file(GREEN, (100, 100)))
    await groups.nth(1).get_by_role("button", name="paint a mask").click()
    dialog = work.page.get_by_role("dialog", name="Mask: photo.png")
    await expect(dialog.get_by_role("button", name="Use this mask")).to_be_enabled()
    easel = dialog.get_by_role("application", name="Painting area")
    await easel.press("Space")
    await easel.press("Control+z")
    await expect(dialog.get_by_text("0 % masked")).to_be_visible()
    await easel.press("Space")
    sent = await upload(work, dialog.get_by_role("button", name="Use this mask").click())
    with await picture_of(work, f"api/uploads/{sent['id']}") as mask:
        red = mask.convert("RGBA").getchannel("R")
        assert mask.size == (100, 100)
        assert red.getpixel((50, 50)) == 255  # white is masked, in every channel that may be chosen
        assert red.getpixel((5, 5)) == 0


async def test_a_workflow_is_dropped_anywhere(work: Workplace) -> None:
    await work.drop(work.gallery, file_of(workflow(title="My sampler", prompt="a green tree"), "mine.json"))
    await expect(work.settings.get_by_text("mine", exact=True)).to_be_visible()
    await expect(work.field("Prompt")).to_have_value("a green tree")
    await work.settings.get_by_text("More settings").click()
    await expect(work.settings.get_by_role("group", name="My sampler")).to_be_visible()
    await work.run()
    await work.expect_picture("a green tree")


async def test_the_endpoint_says_which_choices_it_has(work: Workplace) -> None:
    await work.open_workflow(file_of(workflow(), "asking.json"))
    await work.settings.get_by_role("button", name="Ask the endpoint for its choices").click()
    await work.settings.get_by_text("More settings").click()
    scheduler = work.settings.get_by_role("combobox", name="Scheduler")
    await expect(scheduler.get_by_role("option", name="karras")).to_have_count(1)


async def test_a_workflow_as_comfyuis_page_saves_it_is_run(work: Workplace) -> None:
    await work.open_workflow(file_of(UI_EXPORT, "saved.json"))
    output = await result(work, await work.run())
    with await picture_of(work, output["url"]) as picture:
        assert picture.size == (64, 48)
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 0, 255)


async def test_what_is_no_workflow_is_refused_with_a_sentence(work: Workplace) -> None:
    work.watch.expected = ("400 (Bad Request)",)
    notices = work.page.get_by_role("status", name="Notices")
    await work.drop(work.stage, {"name": "list.json", "mimeType": "application/json", "buffer": b"[1, 2]"})
    await expect(notices).to_contain_text("“list.json” is not a workflow")
    await work.drop(work.stage, file_of({"name": "a package"}, "package.json"))
    await expect(notices).to_contain_text("“package” cannot be opened: Node name")
    await expect(work.field("Prompt")).to_be_visible()


async def test_sounds_films_and_texts_are_shown(work: Workplace) -> None:
    await work.open_workflow(
        file_of(
            {
                "1": {"class_type": "EmptyAudio", "inputs": {"duration": 0.5, "sample_rate": 8000, "channels": 1}},
                "2": {
                    "class_type": "SaveAudioMP3",
                    "inputs": {"audio": ["1", 0], "filename_prefix": "a", "quality": "128k"},
                },
                "3": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": 255}},
                "4": {"class_type": "CreateVideo", "inputs": {"images": ["3", 0], "fps": 4.0}},
                "5": {
                    "class_type": "SaveVideo",
                    "inputs": {"video": ["4", 0], "filename_prefix": "v", "format": "mp4", "codec": "h264"},
                },
                "6": {
                    "class_type": "StringConcatenate",
                    "inputs": {"string_a": HARM, "string_b": "!", "delimiter": ""},
                },
                "7": {"class_type": "PreviewAny", "inputs": {"source": ["6", 0]}},
            },
            "media.json",
        )
    )
    await work.run()
    strip = work.stage.get_by_role("list", name="Results of this run")
    await expect(strip.get_by_role("button")).to_have_count(3)
    kinds = {"Sound": "audio", "Film": "video"}
    for name, tag in kinds.items():
        await strip.get_by_role("button", name=name).click()
        player = work.stage.locator(tag)
        await expect(player).to_be_visible()
        await player.evaluate(
            """(player) => new Promise((resolve, reject) => {
              const look = () => (player.readyState >= 1 ? resolve() : setTimeout(look, 20));
              player.addEventListener('error', () => reject(player.error?.message));
              look();
            })"""
        )
    await strip.get_by_role("button", name="Text").click()
    await expect(work.stage.get_by_text(f"{HARM}!")).to_be_visible()
    await nothing_was_run(work)


async def test_titles_and_texts_that_mean_harm_are_texts(work: Workplace) -> None:
    document = workflow(FAILING, title=HARM, prompt=HARM)
    document["4"]["_meta"]["title"] = HARM
    document["5"]["_meta"]["title"] = "javascript:alert('harm')"
    name = HARM.replace("/", "")
    await work.open_workflow(file_of(document, f"{name}.json"))
    await work.settings.get_by_text("More settings").click()
    await expect(work.settings.get_by_role("group", name=HARM).first).to_be_visible()
    await work.run()
    card = work.stage.get_by_role("alert")
    await expect(card.get_by_role("heading")).to_have_text(f"{HARM} failed")
    await expect(work.stage.get_by_role("heading", name=HARM, exact=True)).to_have_text(HARM)
    await work.page.get_by_role("button", name="Details").click()
    await expect(work.page.get_by_role("dialog")).to_be_visible()
    await nothing_was_run(work)
    await work.page.keyboard.press("Escape")
    await work.page.reload()  # what was remembered and what is in the gallery are texts too
    await expect(work.gallery.get_by_role("listitem")).to_have_count(1)
    await nothing_was_run(work)


async def nothing_was_run(work: Workplace) -> None:
    """No element was made of a text; dialogs, and requests to elsewhere, are watched for in all tests."""
    assert await work.page.locator("img[src=x], script:not([src])").count() == 0
    assert await work.page.evaluate("[...document.querySelectorAll('a')].every((a) => /^(http|#|blob)/.test(a.href))")
    assert "alert('harm')" not in json.dumps(await work.page.evaluate("[...document.scripts].map((each) => each.text)"))

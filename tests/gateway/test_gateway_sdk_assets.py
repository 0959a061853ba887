"""Files by the official comfy-sdk, unmodified: uploaded once, loaded by jobs, deleted."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import comfy_sdk
import pytest
from blake3 import blake3

from comfypod.gateway.assets.routes import UPLOADS_AT_ONCE
from comfypod.gateway.options import Limits
from comfypod.schema.job import JobInput
from comfypod.storage.buckets.bucket import Bucket
from tests.gateway.conftest import TENANT, House, OpenHouse, until
from tests.s3_server import BUCKET, S3Server
from tests.storage.buckets import bucket_at

PHOTO = b"\xff\xd8\xff a photograph" * 1000


def loading(asset: Any) -> dict[str, Any]:
    return {"1": {"class_type": "LoadImage", "inputs": {"image": asset}}}


async def submitted(client: comfy_sdk.AsyncComfy, graph: dict[str, Any]) -> comfy_sdk.AsyncJob:
    return await client.submit(client.workflows.from_json(graph))


def key_of(address: str) -> str:
    scheme = f"s3://{BUCKET}/"
    assert address.startswith(scheme)
    return address.removeprefix(scheme)


async def test_a_file_is_uploaded_and_its_job_loads_it_from_the_bucket(house: House, s3_server: S3Server) -> None:
    client = await house.sdk()
    photo = client.assets.from_bytes(PHOTO, filename="photo.jpg")
    job = await submitted(client, loading(photo))
    assert photo.created_new
    assert photo.hash == "blake3:" + blake3(PHOTO).hexdigest()

    job_input = house.store.job_input(job.id)
    assert job_input["workflow"] == {"1": {"class_type": "LoadImage", "inputs": {"image": "photo.jpg"}}}
    (file,) = job_input["files"]
    assert file["name"] == "photo.jpg"
    assert s3_server.content(key_of(file["url"])) == PHOTO, "where the worker looks for it"


async def test_the_same_bytes_are_not_sent_twice(house: House, s3_server: S3Server, tmp_path: Path) -> None:
    client = await house.sdk()
    first = client.assets.from_bytes(PHOTO, filename="photo.jpg")
    second = client.assets.from_bytes(PHOTO, filename="same.jpg")
    await first.commit()
    await second.commit()
    assert not second.created_new
    assert first.id != second.id
    assert len(s3_server.sizes(f"{tmp_path.name}/assets/")) == 1


async def test_bytes_that_come_again_are_kept_once(house: House, s3_server: S3Server, tmp_path: Path) -> None:
    client = await house.sdk()
    first = await client._low.post_assets(io.BytesIO(PHOTO), "image/jpeg", "a.jpg")
    second = await client._low.post_assets(io.BytesIO(PHOTO), "image/jpeg", "b.jpg", tags=["input", "big"])
    assert (first.created_new, second.created_new) == (True, False)
    assert first.id != second.id
    assert len(s3_server.sizes(f"{tmp_path.name}/assets/")) == 1


async def test_two_files_of_one_name_are_told_apart(house: House) -> None:
    client = await house.sdk()
    files = [client.assets.from_bytes(content, filename="a.png") for content in (b"one", b"two")]
    graph = {str(number): loading(file)["1"] for number, file in enumerate(files)}
    job_input = house.store.job_input((await submitted(client, graph)).id)
    names = [file["name"] for file in job_input["files"]]
    assert len({*names}) == 2
    assert all(name.endswith("a.png") for name in names)
    assert [job_input["workflow"][number]["inputs"]["image"] for number in ("0", "1")] == names


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "..", "a" * 300 + ".png", 'quo"te.png', "clip [input]", ".", "x/"]
)
async def test_no_name_of_a_file_leads_elsewhere(house: House, path: str) -> None:
    client = await house.sdk()
    asset = await client._low.post_assets(io.BytesIO(b"x"), "image/png", path)
    graph = loading({"__type": "core/ASSET", "info": {"id": asset.id}})

    job_input = house.store.job_input((await submitted(client, graph)).id)
    parsed = JobInput.parse(job_input)
    assert len(parsed.files[0].path.parts) == 1
    assert parsed.files[0].name not in {"..", "."}


async def test_an_output_of_one_job_is_loaded_by_another(house: House, s3_server: S3Server) -> None:
    client = await house.sdk()
    first = await submitted(client, loading("there.png"))
    await house.master.succeed(first.id, pictures={"9": PHOTO})
    await first.result()
    output = first.outputs[0]
    assert (await client.assets.get(output.id)).job_id == first.id
    second = await submitted(client, loading({"__type": "core/ASSET", "info": {"id": output.id}}))
    (file,) = house.store.job_input(second.id)["files"]
    assert s3_server.content(key_of(file["url"])) == PHOTO


async def test_a_large_file_is_received_in_pieces(house: House, s3_server: S3Server, tmp_path: Path) -> None:
    client = await house.sdk()
    content = bytes(range(256)) * 4 * 1024 * 20  # 20 MiB: in parts
    await client.assets.from_bytes(content, filename="clip.mp4").commit()
    (key,) = s3_server.sizes(f"{tmp_path.name}/assets/")
    assert blake3(s3_server.content(key)).hexdigest() == key.rsplit("/", 1)[-1]


async def test_a_deleted_file_is_gone_with_its_last_record(house: House, s3_server: S3Server, tmp_path: Path) -> None:
    client = await house.sdk()
    first = client.assets.from_bytes(PHOTO, filename="a.jpg")
    second = client.assets.from_bytes(PHOTO, filename="b.jpg")
    await first.commit()
    await second.commit()
    other = str(second.id)
    await first.delete()
    assert (await house.ask("GET", f"/api/v2/assets/{other}/content", 302))[1].headers["Location"]
    assert s3_server.sizes(f"{tmp_path.name}/assets/")
    await second.delete()
    assert not s3_server.sizes(f"{tmp_path.name}/assets/")
    with pytest.raises(comfy_sdk.NotFound):
        await client.assets.delete(other)


async def test_what_a_job_loads_is_not_deleted_before_it_has_ended(house: House) -> None:
    client = await house.sdk()
    asset = client.assets.from_bytes(PHOTO, filename="a.jpg")
    job = await submitted(client, loading(asset))
    error = await house.refusal("DELETE", f"/api/v2/assets/{asset.id}", 409)
    assert error["code"] == "asset_in_use"
    house.master.fail(job.id)
    await asset.delete()


async def test_a_file_of_another_tenant_is_not_there(house: House) -> None:
    client = await house.sdk()
    asset = client.assets.from_bytes(PHOTO, filename="a.jpg")
    await asset.commit()
    job = await submitted(client, loading(asset))
    await house.master.succeed(job.id, pictures={"9": PHOTO})
    stranger = house.store.add_key("stranger")
    for path in (f"assets/{asset.id}", f"assets/{asset.id}/content", f"assets/{job.id}-0/content", f"jobs/{job.id}"):
        error = await house.refusal("GET", f"/api/v2/{path}", 404, key=stranger)
        assert error["code"] == "not_found"
    await house.ask("HEAD", f"/api/v2/assets/by-hash/{asset.hash}", 404, key=stranger)
    error = await house.refusal(
        "POST", "/api/v2/assets/from-hash", 404, key=stranger, json={"hash": asset.hash, "file_path": "a.jpg"}
    )
    assert error["code"] == "blob_not_found"
    call = {"workflow": loading({"__type": "core/ASSET", "info": {"id": asset.id}})}
    error = await house.refusal("POST", "/api/v2/jobs", 422, key=stranger, json=call)
    assert error["code"] == "missing_asset"


async def test_a_file_is_swept_when_its_time_is_over(house: House, s3_server: S3Server, tmp_path: Path) -> None:
    client = await house.sdk()
    asset = client.assets.from_bytes(PHOTO, filename="a.jpg")
    await asset.commit()
    found = house.store.asset(TENANT, str(asset.id))
    assert found is not None

    house.store.delete_asset(TENANT, found.identifier)
    house.store.add_asset(replace(found, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert await house.gateway._assets.sweep() == 1
    assert not s3_server.sizes(f"{tmp_path.name}/assets/")


async def test_how_long_a_file_is_kept_can_be_said(house: House) -> None:

    form = aiohttp.FormData()
    form.add_field("file", b"bytes", filename="a.txt", content_type="text/plain")  # before its fields, too
    form.add_field("expires_in", "60")
    document, _ = await house.ask("POST", "/api/v2/assets", 201, data=form)
    lifetime = datetime.fromisoformat(document["expires_at"]) - datetime.fromisoformat(document["created_at"])
    assert lifetime == timedelta(seconds=60)
    assert (document["file_path"], document["content_type"]) == ("a.txt", "text/plain")


async def test_uploads_that_are_none_are_refused(open_house: OpenHouse) -> None:

    house = await open_house(limits=Limits(asset_bytes=1000))

    def form(**fields: Any) -> aiohttp.FormData:
        made = aiohttp.FormData()
        for name, value in fields.items():
            made.add_field(name, value, **({"filename": "x.bin"} if isinstance(value, bytes) else {}))
        return made

    async def refused(status: int, **options: Any) -> str:
        return str((await house.refusal("POST", "/api/v2/assets", status, **options))["code"])

    assert await refused(413, data=form(file=b"x" * 1001)) == "payload_too_large"
    assert await refused(409, data=form(file=b"x", expected_hash="blake3:" + "0" * 64)) == "hash_mismatch"
    assert await refused(422, data=form(content_type="image/png")) == "invalid_request"
    assert await refused(422, data=form(file=b"x", content_type="no type")) == "invalid_request"
    assert await refused(422, data=form(file=b"x", expires_in="1")) == "invalid_request"
    assert await refused(422, data=form(file=b"x", other="1")) == "invalid_request"
    assert await refused(422, data=form(file=b"x", file_path="new\nline")) == "invalid_request"
    assert await refused(422, json={"file": "x"}) == "invalid_request"
    headers = {"Content-Type": "multipart/form-data; boundary=none"}
    assert await refused(422, data=b"no parts at all", headers=headers) == "invalid_request"
    assert not house.store.asset_by_hash(TENANT, "blake3:" + blake3(b"x").hexdigest())


async def test_an_upload_that_is_endless_is_cut(open_house: OpenHouse) -> None:

    house = await open_house(limits=Limits(asset_bytes=1000))

    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(1000):
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    error = await house.refusal("POST", "/api/v2/assets", 413, data=endless(), headers=headers)
    assert error["code"] == "payload_too_large"


async def test_uploads_of_one_tenant_are_counted(house: House) -> None:
    release = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
        await release.wait()
        yield b"\r\n--b--\r\n"

    async def upload(body: Any) -> int:
        headers = {
            "Content-Type": "multipart/form-data; boundary=b",
            "Authorization": f"Bearer {house.key}",
        }
        async with house.http.post(f"{house.gateway.url}/api/v2/assets", data=body, headers=headers) as answer:
            return answer.status

    async def is_refused() -> bool:
        return await upload(b"--b--") == 429

    uploads = [asyncio.create_task(upload(held())) for _ in range(UPLOADS_AT_ONCE)]
    await until(is_refused)
    release.set()
    assert {*await asyncio.gather(*uploads)} <= {200, 201}
    assert await upload(b"--b--") == 422, "the places are free again"


async def test_a_bucket_that_is_away_is_told_as_such(open_house: OpenHouse, bucket: Bucket) -> None:
    house = await open_house()
    client = await house.sdk()
    broken = "http://127.0.0.1:1"

    house.gateway._assets._bucket = bucket_at(f"{broken}/outputs")
    with pytest.raises(comfy_sdk.ComfyError) as caught:
        await client.assets.from_bytes(PHOTO, filename=f"{uuid.uuid4()}.jpg").commit()
    assert (caught.value.http_status, caught.value.code) == (502, "upstream_error")
    assert "127.0.0.1:1" not in str(caught.value), "what is behind the gateway is not told"

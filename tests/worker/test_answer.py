"""The answer as the SDK takes it: the same JSON as ever, measured and logged without being written for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from runpod.serverless.modules.rp_job import run_job

from comfypod.schema.output import size_of
from comfypod.worker.answer import Answer


def artifact(data: str, kind: str = "base64", name: str = "a.png") -> dict[str, Any]:
    return {"filename": name, "type": kind, "data": data, "size_bytes": len(data)}


ANSWERS: list[dict[str, Any]] = [
    {"status": "success", "images": [], "files": [], "texts": [{"value": 'é🦊"\n'}]},
    {"status": "success", "images": [artifact("QUJD" * 5000), artifact("")], "files": [artifact("AA==", name="é.bin")]},
    {"status": "success", "images": [artifact("https://é/a?b=\\", "s3_url")], "files": [artifact("/volume/é", "path")]},
    {"status": "error", "error": "no", "images": None},
    {"status": "error", "error": "no"},
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_its_size_is_that_of_its_json(answer: dict[str, Any]) -> None:
    before = json.dumps(answer)
    assert size_of(answer) == len(json.dumps(answer, ensure_ascii=False).encode())
    assert json.dumps(answer) == before


class Unspeakable(str):
    """Text whose representation nobody may take."""

    def __repr__(self) -> str:
        raise AssertionError("its representation was made")


async def test_the_sdk_takes_it_without_formatting_what_it_holds() -> None:
    plain = {"status": "success", "images": [artifact("QUJD")], "refresh_worker": True}
    hidden = {**plain, "images": [{**artifact("QUJD"), "data": Unspeakable("QUJD")}]}

    async def handler(job: Mapping[str, Any]) -> dict[str, Any]:
        return Answer(hidden)

    result = await run_job(handler, {"id": "1", "input": {}})

    assert json.loads(json.dumps(result, ensure_ascii=False)) == {
        "output": {"status": "success", "images": [artifact("QUJD")]},
        "stopPod": True,
    }


async def test_what_failed_is_told_as_a_failure() -> None:
    result = await run_job(lambda job: Answer({"error": "no", "status": "error"}), {"id": "1", "input": {}})
    assert json.loads(json.dumps(result)) == {"output": {"status": "error"}, "error": "no"}

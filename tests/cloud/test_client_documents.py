"""The how-to of the client, run as it is written against the local RunPod; its reference, compared with the code."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client, Job, JobStatus, Result, ResultFile
from comfypod.cloud.pacer import RATES, SHARE
from comfypod.errors import cloud
from tests.cloud.local_runpod import PREVIEW, LocalRunPod, Worker, picture

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = (DOCS / "how-to/use-the-client.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "reference/client.md").read_text(encoding="utf-8")


def work(job_input: dict[str, Any], tell: Any) -> Any:
    tell({"sequence": 1, "stage": "execute", "value": 0.5, "message": "half", "preview": PREVIEW})
    return picture(job_input, tell)


def test_every_snippet_of_the_how_to_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workflow.json").write_text(json.dumps({"6": {"class_type": "A", "inputs": {}}}), encoding="utf-8")
    (tmp_path / "photo.png").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    platform = LocalRunPod()
    for name, value in (("ENDPOINT_ID", "ep"), ("API_KEY", "key"), ("ENDPOINT_BASE_URL", platform.base_url)):
        monkeypatch.setenv(f"RUNPOD_{name}", value)
    snippets = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    names: dict[str, Any] = {}
    try:
        with Worker(platform, work):
            for snippet in snippets:
                exec(compile(snippet, "use-the-client.md", "exec"), names)  # noqa: S102 (our own document)
    finally:
        platform.stop()
    assert len(snippets) == 8
    assert "COMPLETED" in capsys.readouterr().out
    assert len(list((tmp_path / "outputs").glob("*/a.png"))) == 20


def test_the_reference_names_every_call_argument_and_error() -> None:
    members = [
        f"`{name}"
        for kind in (Client, Job, JobStatus, Result, ResultFile)
        for name in vars(kind)
        if not name.startswith("_") and name not in {"parse", "endpoint", "objects"}
    ]
    arguments = [f"`{name}" for name in inspect.signature(Client.submit).parameters if name not in {"self", "more"}]
    errors = [
        f"`{name}`"
        for name, kind in vars(cloud).items()
        if isinstance(kind, type) and issubclass(kind, cloud.CloudError) and kind is not cloud.CloudError
    ]
    missing = [name for name in {*members, *arguments, *errors} if name not in REFERENCE]
    assert missing == []


def test_the_reference_has_the_rates_of_the_code() -> None:
    table = REFERENCE[REFERENCE.index("| calls in 10 s") : REFERENCE.index("## Errors")]
    rows = {
        route.strip(): (int(calls), int(at_once))
        for routes, calls, at_once in re.findall(r"\| ([a-z, -]+) \| (\d+) \| (\d+) \|", table)
        for route in routes.split(",")
    }
    assert rows == {
        route: (max(1, int(rate.calls * SHARE)), max(1, int(rate.at_once * SHARE))) for route, rate in RATES.items()
    }

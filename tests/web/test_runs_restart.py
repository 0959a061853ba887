"""What happens to runs when the server ends or is killed, when the endpoint is away, and when the disk is full."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client
from comfypod.errors import ConfigurationError, RunNotFound
from comfypod.web.documents import Run
from tests.cloud.local_runpod import LocalRunPod
from tests.cloud.scripted_runpod import Cut, Reply, ScriptedRunPod
from tests.web.run_site import (
    PROMPT,
    ROOT,
    SECONDS,
    VISITOR,
    artifact,
    client_of,
    ended,
    progress,
    run_when,
    runs_at,
    success,
    until,
)

PICTURE = b"content of a picture"
CHILDREN = Path(__file__).parent


async def test_a_run_goes_on_where_the_server_left_it(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    async with runs_at(client, tmp_path) as runs:
        run = await runs.submit(VISITOR, PROMPT, "order-7")
        await run_when(runs, run, lambda run: run.job_id is not None)
        platform.set("job-1", **progress(0.5))
        await run_when(runs, run, lambda run: run.progress is not None)
    async with runs_at(client, tmp_path) as runs:
        await run_when(runs, run, lambda run: run.state == "running" and run.progress is not None)
        platform.set("job-1", **success(artifact(PICTURE)))
        done = await ended(runs, run)
        assert (done.state, done.created_at) == ("succeeded", run.created_at)
        assert (await runs.submit(VISITOR, PROMPT, "order-7")).id == run.id  # a request that is repeated
    async with runs_at(client, tmp_path) as runs:
        assert await runs.get(VISITOR, run.id) == done
        assert (await runs.file(VISITOR, run.id, 0)).path.read_bytes() == PICTURE
    assert platform.calls["POST run"] == 1


async def test_a_cancellation_outlives_the_server(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    platform.planned("cancel", *[Reply(503)] * 100)
    async with runs_at(client, tmp_path) as runs:
        run = await runs.submit(VISITOR, PROMPT)
        await run_when(runs, run, lambda run: run.job_id is not None)
        await runs.cancel(VISITOR, run.id)
    platform.plan.clear()
    async with runs_at(client, tmp_path) as runs:
        assert (await ended(runs, run)).state == "cancelled"


async def test_an_endpoint_that_is_away_is_waited_for_and_told(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    async with runs_at(client, tmp_path) as runs:
        platform.close()
        run = await runs.submit(VISITOR, PROMPT)
        waiting = await run_when(runs, run, lambda run: run.wait is not None)
        assert (waiting.state, waiting.job_id) == ("submitting", None)
        state = await until(runs.endpoint, lambda state: not state.is_reachable)
        assert state.error is not None
        assert state.error.code == "cloud_unavailable"
        platform.listen()
        await run_when(runs, run, lambda run: run.state == "queued")
        platform.close()  # while the run is followed
        await until(runs.endpoint, lambda state: not state.is_reachable)
        assert (await runs.get(VISITOR, run.id)).state == "queued"
        platform.listen()
        platform.set("job-1", **success(artifact(PICTURE)))
        assert (await ended(runs, run)).state == "succeeded"
        assert (await until(runs.endpoint, lambda state: state.is_reachable)).error is None
    assert len(platform.jobs) == 1


async def test_what_was_never_sent_is_sent_by_the_next_server_or_cancelled(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    platform.close()
    async with runs_at(client, tmp_path) as runs:
        run, other = await runs.submit(VISITOR, PROMPT), await runs.submit(VISITOR, PROMPT)
        await run_when(runs, run, lambda run: run.wait is not None)
        await run_when(runs, other, lambda run: run.wait is not None)
        await runs.cancel(VISITOR, other.id)
        assert (await ended(runs, other)).state == "cancelled"
    platform.listen()
    async with runs_at(client, tmp_path) as runs:
        await run_when(runs, run, lambda run: run.job_id is not None)
    assert [body["input"]["idempotency_key"] for body in platform.bodies] == [run.id]


async def test_a_refused_job_is_a_failure_at_once(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    platform.planned("run", Reply(401))
    async with runs_at(client, tmp_path) as runs:
        done = await ended(runs, await runs.submit(VISITOR, PROMPT))
    assert done.error is not None
    assert (done.state, done.error.code) == ("failed", "authentication_failed")


async def test_a_lost_answer_is_no_second_job(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    platform.planned("run", Cut("after", acts=True))
    async with runs_at(client, tmp_path) as runs:
        run = await runs.submit(VISITOR, PROMPT)
        found = await run_when(runs, run, lambda run: run.job_id is not None)
    assert found.job_id == "job-1"
    assert platform.calls["POST run"] == 1


async def test_a_server_that_ends_while_it_sends_still_hears_the_answer(tmp_path: Path) -> None:
    platform = await asyncio.to_thread(LocalRunPod, "latency:route=run,seconds=0.5", "status:route=requests,code=404")
    try:
        with Client("ep", "key", platform.base_url) as client:
            async with runs_at(client, tmp_path) as runs:
                run = await runs.submit(VISITOR, PROMPT)
                stored = tmp_path / "visitors" / VISITOR / "runs" / run.id / "run.json"
                await until(lambda: asyncio.to_thread(json.loads, stored.read_bytes()), lambda it: it["sent_at"])
            assert json.loads(stored.read_bytes())["run"]["job_id"] is not None
            async with runs_at(client, tmp_path) as runs:
                assert (await runs.get(VISITOR, run.id)).job_id is not None
            assert client.health()["jobs"]["inQueue"] == 1
    finally:
        await asyncio.to_thread(platform.stop)


@pytest.fixture
def held(platform: ScriptedRunPod) -> Iterator[ScriptedRunPod]:
    """A platform that is cut off from all jobs' answers: what is sent arrives, and nobody hears of it."""
    platform.planned("run", Cut("after", acts=True))
    platform.planned("requests", *[Reply(503)] * 1000)
    yield platform
    platform.plan.clear()


@pytest.mark.parametrize("has_job", [True, False])
async def test_a_server_that_was_killed_while_it_sent_never_sends_again(
    held: ScriptedRunPod, tmp_path: Path, has_job: bool
) -> None:
    run_id = await _killed_in_mid_submission(held, tmp_path)
    if not has_job:
        held.jobs.clear()
    held.plan.clear()
    with client_of(held) as client:
        async with runs_at(client, tmp_path) as runs:
            run = await until(lambda: runs.get(VISITOR, run_id), lambda run: run.has_ended or run.job_id is not None)
    assert held.calls["POST run"] == 1
    if has_job:
        assert run.job_id == "job-1"
    else:
        assert run.error is not None
        assert (run.state, run.error.code) == ("failed", "submission_uncertain")
        assert "not sent again" in run.error.message


async def _killed_in_mid_submission(platform: ScriptedRunPod, folder: Path) -> str:
    """Start a server, let it send, and kill it before it can know the job; the run's id."""
    child = await _start("killed_child.py", platform.base_url, folder)
    assert child.stdout is not None
    async with asyncio.timeout(SECONDS):
        run_id = (await child.stdout.readline()).decode().strip()
        while not platform.calls["GET requests"]:  # the answer was lost, and the job is looked for
            await asyncio.sleep(0.01)
    child.kill()
    await child.communicate()
    return run_id


async def test_a_full_disk_ends_the_run_and_not_the_server(platform: ScriptedRunPod, tmp_path: Path) -> None:
    large = artifact(os.urandom(100_000), "large.png")
    platform.on_status = lambda job: job.update(success(artifact(PICTURE), large))
    child = await _start("limited_child.py", platform.base_url, tmp_path)
    async with asyncio.timeout(SECONDS):
        stdout, _ = await child.communicate()
    assert child.returncode == 0
    told: dict[str, Any] = json.loads(stdout)
    first = Run.model_validate(told["first"])
    assert first.error is not None
    assert (first.state, first.error.code, first.outputs) == ("failed", "saving_failed", [])
    assert str(tmp_path) not in first.error.message
    assert "cannot be written" in told["second"]
    assert told["listed"] == 1
    assert not [*tmp_path.rglob("*.png")]  # what is there of it makes room
    with client_of(platform) as client:  # and it is written that it failed
        async with runs_at(client, tmp_path) as runs:
            assert [run.state for run in (await runs.list(VISITOR)).runs] == ["failed"]


async def _start(name: str, base_url: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILDREN / name),
        base_url,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )


async def test_another_endpoint_does_not_get_the_runs_of_this_one(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    async with runs_at(client, tmp_path) as runs:
        run = await runs.submit(VISITOR, PROMPT)
        await run_when(runs, run, lambda run: run.job_id is not None)
    with ScriptedRunPod() as other, client_of(other) as other_client:
        async with runs_at(other_client, tmp_path) as runs:
            done = await ended(runs, run)
        assert not other.calls
    assert done.error is not None
    assert done.error.code == "endpoint_changed"
    assert "job-1" in done.error.message


async def test_a_broken_run_is_left_out_and_the_others_are_there(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    platform.on_status = lambda job: job.update(success(artifact(PICTURE)))
    async with runs_at(client, tmp_path) as runs:
        broken, whole = await runs.submit(VISITOR, PROMPT), await runs.submit(VISITOR, PROMPT)
        for run in (broken, whole):
            await ended(runs, run)
    (tmp_path / "visitors" / VISITOR / "runs" / broken.id / "run.json").write_text('{"run": {"id"', encoding="utf-8")
    (tmp_path / "visitors" / VISITOR / "runs" / "not-a-run").mkdir()
    (tmp_path / "visitors" / "not a visitor" / "runs").mkdir(parents=True)
    async with runs_at(client, tmp_path) as runs:
        assert [run.id for run in (await runs.list(VISITOR)).runs] == [whole.id]
        with pytest.raises(RunNotFound):
            await runs.get(VISITOR, broken.id)


async def test_two_servers_do_not_share_a_folder_which_is_private(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with runs_at(client, folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(ConfigurationError, match="Another server"):
            async with runs_at(client, folder):
                pass
    async with runs_at(client, folder):
        pass


async def test_a_folder_that_cannot_be_used_is_told(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        async with runs_at(client, tmp_path / "file" / "data"):
            pass

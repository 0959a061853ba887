"""What watchers of runs are told, and how little a slow one costs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from comfypod import Client
from comfypod.web.documents import Run
from comfypod.web.runs.events import Subscription
from comfypod.web.runs.live_run import now
from tests.cloud.scripted_runpod import ScriptedRunPod
from tests.web.run_site import PROMPT, SECONDS, STRANGER, VISITOR, artifact, ended, progress, run_when, runs_at, success

Message = tuple[str, Any]


def a_run(run_id: str, **fields: Any) -> Run:
    return Run(id=run_id, state="running", created_at=now(), **fields)


async def test_a_slow_watcher_gets_the_newest_state_of_each_run_and_misses_no_last_one() -> None:
    subscription = Subscription(None)
    for number in range(1000):
        subscription.put("a", "run", a_run("a", title=str(number)))
        subscription.put("b", "run", a_run("b", title=str(number)))
    subscription.put("a", "removed", {"id": "a"})
    subscription.close()
    messages = [message async for message in subscription.messages()]
    assert [(name, document.get("title")) for name, document in messages] == [("removed", None), ("run", "999")]


async def test_the_first_message_is_how_everything_is_then_every_change_comes(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    async with runs_at(client, tmp_path) as runs:
        run = await runs.submit(VISITOR, PROMPT)
        await run_when(runs, run, lambda run: run.job_id is not None)
        first_tab, second_tab = runs.events(VISITOR), runs.events(VISITOR, run.id)
        strangers = runs.events(STRANGER)
        for events in (first_tab, second_tab):
            name, document = await anext(events)
            assert (name, [item["id"] for item in document["runs"]]) == ("runs", [run.id])
        assert (await anext(strangers))[1]["runs"] == []
        platform.set("job-1", **progress(0.25))
        for events in (first_tab, second_tab):
            assert (await _next_run(events, "running"))["progress"]["value"] == 0.25
        platform.set("job-1", **success(artifact(b"a picture")))
        for events in (first_tab, second_tab):
            assert (await _next_run(events, "succeeded"))["outputs"][0]["kind"] == "image"
        other = await runs.submit(VISITOR, PROMPT)
        assert (await _next_run(first_tab, "submitting"))["id"] == other.id
        await runs.remove(VISITOR, run.id)
        assert await _next(first_tab, "removed") == {"id": run.id}
        assert await _next(second_tab, "removed") == {"id": run.id}  # and nothing of the other run before
        statuses = platform.calls["GET status"]
        assert statuses < 40  # one follower, however many watch
    left = [name async for name, _ in strangers]  # the end of the server ends what is watched
    assert set(left) <= {"endpoint"}


async def test_a_run_that_goes_on_is_shown_however_old_it_is(
    client: Client, platform: ScriptedRunPod, tmp_path: Path
) -> None:
    async with runs_at(client, tmp_path) as runs:
        oldest = await runs.submit(VISITOR, PROMPT)
        await run_when(runs, oldest, lambda run: run.job_id is not None)
        platform.on_status = lambda job: job["id"] == "job-1" or job.update(success(artifact(b"a picture")))
        for _ in range(31):
            await ended(runs, await runs.submit(VISITOR, PROMPT))
        _, document = await anext(runs.events(VISITOR))
        ids = [item["id"] for item in document["runs"]]
        assert len(ids) == 31
        assert ids[-1] == oldest.id
        assert document["next"] == ids[-2]


async def _next_run(events: Any, state: str) -> Any:
    """The next message about a run in this state."""
    while (document := await _next(events, "run"))["state"] != state:
        pass
    return document


async def _next(events: Any, wanted: str) -> Any:
    async with asyncio.timeout(SECONDS):
        async for name, document in events:
            if name == wanted:
                return document
            assert name in {"run", "endpoint"}
    raise AssertionError("the events ended")

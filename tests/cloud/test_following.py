"""Following a job to its end: what is told on the way, how often is asked, and what is borne."""

from __future__ import annotations

import base64
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from comfypod import Client, JobState, JobStatus, PreviewImage
from comfypod.cloud.arriving import arriving_blocks
from comfypod.cloud.clock import SystemClock
from comfypod.cloud.pacer import Pacer
from comfypod.cloud.patience import Patience
from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    DeadlineExceeded,
    EndpointNotFound,
    JobCancelled,
    JobFailed,
    JobNotFound,
    OutOfMemory,
    ProtocolViolation,
    RequestRefused,
)
from tests.cloud.scripted_runpod import (
    API_KEY,
    ENDPOINT_ID,
    REFUSED,
    Cut,
    FakeClock,
    Reply,
    ScriptedRunPod,
    Step,
)

DONE = Reply(200, {"id": "job-1", "status": "COMPLETED", "output": {"images": [], "texts": [{"value": "a caption"}]}})


def queued() -> Reply:
    return Reply(200, {"id": "job-1", "status": "IN_QUEUE"})


def running(**progress: Any) -> Reply:
    return Reply(200, {"id": "job-1", "status": "IN_PROGRESS", "output": progress or None, "workerId": "w1"})


def test_every_answer_is_told_with_its_progress(client: Client, platform: ScriptedRunPod) -> None:
    update = {"sequence": 3, "stage": "execute", "value": 0.5, "step": 8, "steps": 20, "message": "KSampler 8/20"}
    platform.planned("status", queued(), running(), running(**update), DONE)
    seen: list[JobStatus] = []
    result = client.submit(prompt="a fox").wait(seen.append)
    assert [status.state for status in seen] == [
        JobState.IN_QUEUE,
        JobState.IN_PROGRESS,
        JobState.IN_PROGRESS,
        JobState.COMPLETED,
    ]
    progress = seen[2].progress
    assert progress is not None
    assert (progress.value, progress.step, progress.steps, progress.stage) == (0.5, 8, 20, "execute")
    assert progress["message"] == progress.message == "KSampler 8/20"
    assert [status.progress for status in (seen[0], seen[1], seen[3])] == [None, None, None]
    assert result.texts == ["a caption"]
    assert result == {"images": [], "texts": [{"value": "a caption"}]}


def test_it_is_asked_at_once_then_ever_less_often_and_again_often_while_it_runs(
    client: Client, platform: ScriptedRunPod, clock: FakeClock
) -> None:
    platform.planned("status", *[queued()] * 20, *[running()] * 10, DONE)
    begun = clock.now()
    first: list[float] = []
    client.submit(prompt="a fox").wait(lambda _: first.append(clock.now()))
    waiting, working = clock.pauses[:20], clock.pauses[20:]
    assert first[0] == begun
    assert waiting == sorted(waiting)
    assert (waiting[0], waiting[-1]) == (0.2, 2.0)
    assert working == sorted(working)
    assert (working[0], working[-1]) == (0.2, 0.5)


@pytest.mark.parametrize("step", [REFUSED, Cut("before"), Cut("middle"), Reply(500), Reply(502), Reply(429)], ids=str)
def test_a_platform_that_is_away_for_a_while_is_waited_for(
    client: Client, platform: ScriptedRunPod, clock: FakeClock, step: Step
) -> None:
    job = client.submit(prompt="a fox")
    platform.planned("status", step, step, step, DONE)
    assert job.wait()["images"] == []
    assert len(clock.pauses) == 3


@pytest.mark.parametrize("step", [REFUSED, Reply(503)], ids=str)
def test_it_is_given_up_when_the_patience_is_over(
    client: Client, platform: ScriptedRunPod, clock: FakeClock, step: Step
) -> None:
    job = client.submit(prompt="a fox")
    platform.planned("status", *[step] * 1000)
    with pytest.raises(CloudUnavailable):
        job.wait()
    assert sum(clock.pauses) == pytest.approx(60)
    assert len(set(clock.pauses)) == len(clock.pauses), "the pauses have no jitter"


def test_a_laptop_that_slept_has_all_its_patience_when_it_wakes_up(client: Client, platform: ScriptedRunPod) -> None:
    """It fails for 40 s, sleeps for an hour in the middle of a pause, and fails for 50 s more: not 90 s in a row."""
    job = client.submit(prompt="a fox")
    clock = SleepyClock(platform)
    job._endpoint = job._endpoint.with_clock(clock)
    platform.planned("status", *[REFUSED] * 1000)
    clock.sleeps_at, clock.is_back_after = 40.0, 50.0
    assert job.wait()["images"] == []
    assert clock.awake > 90
    assert clock.moment > 3600


class SleepyClock(FakeClock):
    """Time of a machine that sleeps for an hour once; the platform is back some time after it woke up."""

    def __init__(self, platform: ScriptedRunPod) -> None:
        super().__init__(self._between)
        self._platform = platform
        self.awake = 0.0
        self.sleeps_at = self.is_back_after = float("inf")

    def _between(self) -> None:
        self.awake = sum(self.pauses)
        if self.awake > self.sleeps_at:
            self.moment += 3600
            self.sleeps_at = float("inf")
        if self.awake > 40 + self.is_back_after:
            self._platform.plan["status"].clear()
            self._platform.plan["status"].append(DONE)
            self._platform.listen()
            self.on_sleep = lambda: None


def test_without_a_gap_the_same_failures_are_too_many(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    clock = SleepyClock(platform)
    job._endpoint = job._endpoint.with_clock(clock)
    platform.planned("status", *[REFUSED] * 1000)
    clock.is_back_after = 50.0
    with pytest.raises(CloudUnavailable):
        job.wait()


def test_attempts_that_always_take_long_are_no_sleep() -> None:
    """Packets that vanish: a host with several addresses takes minutes to be found unreachable, every time."""
    clock = FakeClock()
    patience = Patience(60, clock)
    begun, since = clock.moment, clock.moment
    clock.moment += 120
    while patience.pause(since):
        assert clock.moment - begun < 600, "it goes on for ever"
        since = clock.moment
        clock.moment += 120
    assert clock.moment - begun > 120, "the first may have been a sleep"


def test_a_server_that_lets_its_answer_drip_is_given_up() -> None:
    """No read of it takes long, and a whole block is never there."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        dripping = pool.submit(_drip, server)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with requests.get(url, stream=True, timeout=10) as response, pytest.raises(requests.Timeout):
            list(arriving_blocks(response, 0.1))
        assert dripping.result(10) < 10_000, "it was heard to the end"


def _drip(server: socket.socket) -> int:
    """Send an answer byte by byte until nobody hears it; how many there were."""
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        for sent in range(10_000):
            connection.sendall(b"x")
            time.sleep(0.005)
            if sent > 0 and select.select([connection], [], [], 0)[0]:
                return sent
    return sent


def test_waiting_for_a_platform_that_is_away_takes_no_longer_than_its_timeout(
    client: Client, platform: ScriptedRunPod, clock: FakeClock
) -> None:
    job = client.submit(prompt="a fox")
    platform.planned("status", *[Reply(503)] * 1000)
    with pytest.raises(DeadlineExceeded, match="HTTP 503"):
        job.wait(timeout_seconds=5)
    assert sum(clock.pauses) == pytest.approx(5)


def test_the_machines_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.sleep(0.001)
    assert clock.now() > before


def test_waiting_ends_with_its_timeout_and_the_job_goes_on(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    with pytest.raises(DeadlineExceeded):
        job.wait(timeout_seconds=30)
    assert platform.cancelled == []
    platform.set("job-1", status="COMPLETED", output={"a": 1})
    assert job.wait(timeout_seconds=0) == {"a": 1}, "a job that has ended is not too late"
    assert job.result() == {"a": 1}


def test_a_result_is_kept_and_a_job_that_has_not_ended_has_none(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    with pytest.raises(DeadlineExceeded, match="IN_QUEUE"):
        job.result()
    platform.set("job-1", status="COMPLETED", output={"a": 1})
    assert job.result() == {"a": 1}
    asked = platform.calls["GET status"]
    del platform.jobs["job-1"]  # RunPod forgets it after 30 minutes
    assert job.result() == {"a": 1}
    assert platform.calls["GET status"] == asked


def test_a_result_that_expired_is_told(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    platform.jobs.clear()
    for call in (job.wait, job.status, job.cancel, job.retry):
        with pytest.raises(JobNotFound, match="keeps a result for 30 minutes"):
            call()


def test_a_job_is_taken_up_again_by_its_id(client: Client, platform: ScriptedRunPod) -> None:
    client.submit(prompt="a fox")
    platform.set("job-1", status="COMPLETED", output={"a": 1})
    assert client.job("job-1").wait() == {"a": 1}
    with pytest.raises(JobNotFound):
        client.job("../../evil")


def test_a_job_that_failed_raises_what_its_worker_raised(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    output = {"code": "out_of_memory", "retryable": True, "details": {"node_id": "3", "class_type": "KSampler"}}
    platform.set("job-1", status="FAILED", error="Node 3 (KSampler) failed: out of memory", output=output)
    with pytest.raises(OutOfMemory) as caught:
        job.wait()
    assert isinstance(caught.value, JobFailed)
    assert (caught.value.job_id, caught.value.node_id, caught.value.retryable) == ("job-1", "3", True)


def test_a_job_is_cancelled(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    platform.planned("cancel", Cut("after", acts=True), Reply(503))
    assert job.cancel().state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        job.wait()


def test_a_job_that_failed_is_run_once_more(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox")
    platform.set("job-1", status="FAILED", error="no")
    platform.planned("retry", REFUSED, Reply(429))
    assert job.retry().state is JobState.IN_QUEUE
    platform.set("job-1", status="FAILED", error="no")
    platform.planned("retry", Cut("after", acts=True))
    assert job.retry().state is JobState.IN_QUEUE, "that it took effect is seen by its state"
    platform.set("job-1", status="FAILED", error="no")
    platform.planned("retry", Cut("after"))
    with pytest.raises(CloudUnavailable, match="may run once more, or not"):
        job.retry()
    assert platform.calls["POST retry"] == 4
    platform.planned("retry", Reply(400))
    with pytest.raises(RequestRefused):
        job.retry()


def test_health_and_purge(client: Client, platform: ScriptedRunPod) -> None:
    client.submit(prompt="a fox")
    platform.planned("health", Reply(503), Cut("before"))
    assert client.health()["jobs"] == {"inQueue": 1}
    assert client.purge_queue() == 1
    platform.planned("purge-queue", Cut("after", acts=True))
    with pytest.raises(CloudUnavailable, match="may have been purged"):
        client.purge_queue()
    assert platform.calls["POST purge-queue"] == 2
    platform.planned("health", Reply(404), Reply(401), Reply(200, ["odd"]))
    for error in (EndpointNotFound, AuthenticationFailed, ProtocolViolation):
        with pytest.raises(error):
            client.health()


def test_each_preview_is_shown_once(client: Client, platform: ScriptedRunPod) -> None:
    def preview(content: bytes) -> dict[str, Any]:
        data = base64.b64encode(content).decode()
        return {"value": 0.1, "preview": {"node_id": "3", "content_type": "image/jpeg", "data_base64": data}}

    platform.planned(
        "status",
        running(),
        running(value=0.1),
        running(**preview(b"one")),
        running(**preview(b"one")),
        running(value=0.2, preview={"data_base64": "%%%"}),
        running(**preview(b"two")),
        DONE,
    )
    job = client.submit(prompt="a fox", previews=True)
    assert list(job.previews()) == [
        PreviewImage("3", "image/jpeg", b"one"),
        PreviewImage("3", "image/jpeg", b"two"),
    ]
    assert platform.bodies[0]["input"]["progress"] == {"previews": True}
    assert job.result()["images"] == []


def test_saving_waits_for_the_job(client: Client, platform: ScriptedRunPod, tmp_path: Path) -> None:
    image = {"filename": "a.png", "type": "base64", "data": base64.b64encode(b"content").decode()}
    done = {"id": "job-1", "status": "COMPLETED", "output": {"images": [image]}}
    platform.planned("status", queued(), running(), Reply(200, done))
    (path,) = client.submit(prompt="a fox").save(str(tmp_path))
    assert path.read_bytes() == b"content"


def test_the_key_is_sent_and_never_shown(
    client: Client, platform: ScriptedRunPod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))  # what Requests would rather send
    job = client.submit(prompt="a fox")
    client.health()
    assert {headers["Authorization"] for headers in platform.headers} == {f"Bearer {API_KEY}"}
    platform.planned("status", Reply(401), Reply(400), *[Cut("before")] * 1000)
    texts = [repr(client), repr(job), repr(client.endpoint)]
    for _ in range(3):
        with pytest.raises((AuthenticationFailed, RequestRefused, CloudUnavailable)) as caught:
            job.status()
        texts += [str(caught.value), repr(caught.value), str(caught.value.details())]
    assert not [text for text in texts if API_KEY in text]


def test_an_answer_without_end_is_given_up(
    client: Client, platform: ScriptedRunPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfypod.cloud.transport.LARGEST_ANSWER_BYTES", 100_000)
    platform.planned("run", Reply(200, b" " * 200_000, acts=True))
    assert client.submit(prompt="a fox").id == "job-1", "as good as no answer"


def test_many_threads_share_a_client(client: Client, platform: ScriptedRunPod) -> None:
    def run(number: int) -> tuple[Any, Any]:
        job = client.submit(prompt=str(number))
        platform.set(job.id, status="COMPLETED", output={"prompt": platform.jobs[job.id]["input"]["prompt"]})
        return str(number), job.wait()["prompt"]

    with ThreadPoolExecutor(16) as pool:
        assert all(sent == received for sent, received in pool.map(run, range(200)))
    assert len(platform.jobs) == 200
    assert len(client._transport._idle) <= 16, "no more connections are kept than were used at once"


@pytest.mark.parametrize(
    ("route", "most"), [("run", 800), ("status", 1600), ("cancel", 80), ("requests", 8), ("purge-queue", 1)]
)
def test_calls_stay_inside_four_fifths_of_runpods_limits(route: str, most: int) -> None:
    clock, pacer = FakeClock(), Pacer()
    moments = []
    for _ in range(most * 3 + 1):
        with pacer.turn(route, clock):
            moments.append(clock.now())
    windows = zip(moments, moments[most:], strict=False)
    assert all(later - earlier >= 10 for earlier, later in windows)
    assert moments[-1] - moments[0] == pytest.approx(30), "and no slower than that"


def test_a_client_keeps_its_pace_in_all_its_threads(platform: ScriptedRunPod) -> None:
    clock = FakeClock()
    with Client(ENDPOINT_ID, API_KEY, platform.base_url, clock=clock) as client, ThreadPoolExecutor(8) as pool:
        jobs = [client.submit(prompt="a fox") for _ in range(81)]
        list(pool.map(lambda job: job.cancel(), jobs))
    assert platform.calls["POST cancel"] == 81
    assert [pause for pause in clock.pauses if pause > 5], "the 81st cancellation in 10 s had to wait"

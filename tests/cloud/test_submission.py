"""A job is never created twice, whatever happens to the request that creates it."""

from __future__ import annotations

import random
import re

import pytest

from comfypod import Client
from comfypod.errors import (
    AuthenticationFailed,
    CloudError,
    CloudUnavailable,
    EndpointNotFound,
    ProtocolViolation,
    RequestRefused,
    SubmissionUncertain,
)
from tests.cloud.scripted_runpod import (
    API_KEY,
    ENDPOINT_ID,
    REFUSED,
    Cut,
    FakeClock,
    Raw,
    Reply,
    ScriptedRunPod,
    Step,
)

BUSY = Reply(429)
CERTAIN: list[Step] = [REFUSED, BUSY]
"""After these it is certain that there is no job."""
CREATING: dict[str, Step] = {
    "reset after the job was created": Cut("after", acts=True),
    "cut in the middle of the answer": Cut("middle", acts=True),
    "a gateway's timeout": Reply(504, acts=True),
    "a platform that says it is away": Reply(503, acts=True),
    "an edge's timeout": Reply(524, acts=True),
    "a proxy that gave up": Reply(408, acts=True),
    "an answer that is no JSON": Reply(200, b"<html>", acts=True),
    "an answer without an id": Reply(200, {"status": "IN_QUEUE"}, acts=True),
    "an answer of two lengths": Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}", acts=True),
    "an answer that cannot be unpacked": Raw(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", acts=True
    ),
    "an answer in broken pieces": Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", acts=True),
    "what is no HTTP": Raw(b"\0\1\2\r\n\r\n", acts=True),
}
FRUITLESS: dict[str, Step] = {
    "reset before the body was read": Cut("before"),
    "reset after it was read": Cut("after"),
    "a gateway's timeout": Reply(504),
    "a broken platform": Reply(500),
}
"""Here there is none either, but that cannot be seen from outside."""


@pytest.mark.parametrize("step", CREATING.values(), ids=CREATING)
def test_a_job_whose_answer_was_lost_is_found_again_and_not_sent_again(
    client: Client, platform: ScriptedRunPod, step: Step
) -> None:
    platform.planned("run", step)
    job = client.submit(prompt="a fox")
    assert (job.id, platform.calls["POST run"]) == ("job-1", 1)
    assert job.idempotency_key == platform.jobs["job-1"]["input"]["idempotency_key"]
    platform.set("job-1", status="COMPLETED", output={"images": []})
    assert job.wait()["images"] == []


@pytest.mark.parametrize("step", FRUITLESS.values(), ids=FRUITLESS)
def test_a_job_that_is_not_listed_is_not_sent_again_and_the_caller_is_told(
    client: Client, platform: ScriptedRunPod, clock: FakeClock, step: Step
) -> None:
    platform.planned("run", step)
    with pytest.raises(SubmissionUncertain, match=r"not sent again.*Look for the key order-7") as caught:
        client.submit(prompt="a fox", idempotency_key="order-7")
    assert (platform.calls["POST run"], platform.jobs) == (1, {})
    assert platform.calls["GET requests"] > 1, "the list may lag, so it is looked at more than once"
    assert (caught.value.idempotency_key, caught.value.retryable) == ("order-7", False)
    assert sum(clock.pauses) < 20


@pytest.mark.parametrize(
    "listing",
    [
        Reply(404),
        Reply(200, {"detail": "no"}),
        Reply(200, {"requests": "many"}),
        Reply(200, ["job-1"]),
        Reply(200, b"<html>"),
        Reply(401),
        Reply(200, {"requests": [{"id": "../evil", "status": "IN_QUEUE", "input": {"idempotency_key": "order-7"}}]}),
    ],
    ids=str,
)
def test_where_jobs_cannot_be_looked_for_the_caller_is_told(
    client: Client, platform: ScriptedRunPod, listing: Reply
) -> None:
    platform.planned("run", Cut("after", acts=True))
    platform.planned("requests", listing)
    with pytest.raises(SubmissionUncertain, match="could not be looked for"):
        client.submit(prompt="a fox", idempotency_key="order-7")
    assert platform.calls["POST run"] == 1


@pytest.mark.parametrize(
    "listing",
    [
        {"requests": [{"id": "other", "status": "FAILED"}, {"id": "mine", "status": "IN_QUEUE"}]},
        [{"id": "mine", "status": "IN_PROGRESS"}],
        {"total": 1, "data": [{"id": "mine", "status": "COMPLETED"}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["input", "output"])
def test_any_list_of_jobs_will_do(client: Client, platform: ScriptedRunPod, listing: object, place: str) -> None:
    for entries in [listing] if isinstance(listing, list) else listing.values():  # type: ignore[attr-defined]
        for entry in entries if isinstance(entries, list) else []:
            entry[place] = {"idempotency_key": "order-7" if entry["id"] == "mine" else "another"}
    platform.planned("run", Reply(502))
    platform.planned("requests", Reply(200, {"requests": []}), Reply(503), Cut("before"), Reply(200, listing))
    assert client.submit(prompt="a fox", idempotency_key="order-7").id == "mine"


@pytest.mark.parametrize("steps", [[REFUSED], [BUSY], [REFUSED, REFUSED, BUSY, REFUSED]], ids=str)
def test_what_certainly_created_nothing_is_tried_again(
    client: Client, platform: ScriptedRunPod, clock: FakeClock, steps: list[Step]
) -> None:
    platform.planned("run", *steps)
    assert client.submit(prompt="a fox").id == "job-1"
    assert len(platform.jobs) == 1
    assert len(clock.pauses) == len(steps)
    assert platform.calls["GET requests"] == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRefused),
        (401, AuthenticationFailed),
        (403, RequestRefused),
        (404, EndpointNotFound),
        (413, RequestRefused),
        (307, RequestRefused),
    ],
)
def test_a_refusal_is_told_and_final(
    client: Client, platform: ScriptedRunPod, status: int, error: type[CloudError]
) -> None:
    platform.planned("run", Reply(status))
    with pytest.raises(error):
        client.submit(prompt="a fox")
    assert platform.calls == {"POST run": 1}


@pytest.mark.parametrize("location", [b"http://[bad", b"http://\xff\xfe/", b"http://a:x/", b""])
def test_where_a_redirection_leads_is_not_even_read(client: Client, platform: ScriptedRunPod, location: bytes) -> None:
    platform.planned("run", Raw(b"HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"))
    with pytest.raises(RequestRefused, match="HTTP 307"):
        client.submit(prompt="a fox")
    assert platform.calls == {"POST run": 1}


@pytest.mark.parametrize("step", CERTAIN, ids=str)
def test_a_platform_that_stays_away_is_told_after_the_patience(
    client: Client, platform: ScriptedRunPod, clock: FakeClock, step: Step
) -> None:
    platform.planned("run", *[step] * 1000)
    with pytest.raises(CloudUnavailable):
        client.submit(prompt="a fox")
    assert sum(clock.pauses) == pytest.approx(60)
    assert (platform.jobs, platform.calls["GET requests"]) == ({}, 0)


@pytest.mark.parametrize(
    ("base_url", "proxy"),
    [
        ("http://no-such-host.invalid/v2", None),
        ("http://.example/v2", None),
        ("http://127.0.0.1:9/v2", "http://127.0.0.1:9"),
        ("https://127.0.0.1:9/v2", "http://127.0.0.1:9"),
    ],
)
def test_where_nothing_can_be_reached_it_is_certain_that_there_is_no_job(
    base_url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
    with (
        Client(ENDPOINT_ID, API_KEY, base_url, clock=FakeClock()) as client,
        pytest.raises(CloudUnavailable, match=r"no connection|cannot be used"),
    ):
        client.submit(prompt="a fox")


def test_a_submission_uses_no_connection_that_may_have_died(client: Client, platform: ScriptedRunPod) -> None:
    client.health()
    client.submit(prompt="a fox")
    assert platform.connections == 2
    client.health()
    assert platform.connections == 2, "readings share one"
    platform.cut_idle()
    client.submit(prompt="a fox")
    assert platform.calls["POST run"] == len(platform.jobs) == 2


def test_random_failures_never_make_a_second_job() -> None:
    """Any sequence of failures: a job at most, a request after an uncertain one never, and a true answer."""
    draw = random.Random(20261121)  # noqa: S311 (not for cryptography)
    outcomes = set()
    for _ in range(120):
        steps = [draw.choice(CERTAIN) for _ in range(draw.choice([0, 0, 1, 2, 4]))]
        last = draw.choice([*CREATING.values(), *FRUITLESS.values(), Reply(acts=True, document=None), Reply(400)])
        listings = [
            draw.choice([Reply(404), Reply(500), Cut("before"), Cut("middle"), Reply(200, {"requests": []}), BUSY])
            for _ in range(draw.choice([0, 0, 1, 3]))
        ]
        outcomes.add(submit_under(steps, last, listings, draw))
    assert outcomes == {"sent", "found", "uncertain", "refused"}


def submit_under(steps: list[Step], last: Step, listings: list[Step], draw: random.Random) -> str:
    with ScriptedRunPod() as platform:
        clock = FakeClock(platform.after_attempt)
        client = Client(ENDPOINT_ID, API_KEY, platform.base_url, clock=clock)
        platform.planned("requests", *listings)
        platform.planned("run", *steps, last, *[Reply(acts=True, document=None)] * 5)
        told = outcome_of(client, platform)
        client.close()
        busy = steps.count(BUSY)
        assert platform.calls["POST run"] == busy + 1, (steps, last, "the request was repeated, or never sent")
        assert len(platform.jobs) <= 1
        return told


def outcome_of(client: Client, platform: ScriptedRunPod) -> str:
    try:
        job = client.submit(prompt="a fox", idempotency_key="order-7")
    except SubmissionUncertain as error:
        assert error.idempotency_key == "order-7"
        return "uncertain"
    except RequestRefused:
        assert not platform.jobs
        return "refused"
    assert job.id in platform.jobs
    return "found" if platform.calls["GET requests"] else "sent"


def test_a_job_is_found_by_its_key(client: Client, platform: ScriptedRunPod) -> None:
    job = client.submit(prompt="a fox", idempotency_key="order-7")
    found = client.find("order-7")
    assert found is not None
    assert (found.id, found.idempotency_key) == (job.id, "order-7")
    assert client.find("order-8") is None
    platform.planned("requests", Reply(404), Reply(200, {}))
    with pytest.raises(RequestRefused, match="does not list its jobs"):
        client.find("order-7")
    with pytest.raises(ProtocolViolation):
        client.find("order-7")


def test_every_job_has_a_key_of_its_own(client: Client, platform: ScriptedRunPod) -> None:
    jobs = [client.submit(prompt="a fox"), client.submit(prompt="a fox")]
    keys = [body["input"]["idempotency_key"] for body in platform.bodies]
    assert keys == [job.idempotency_key for job in jobs]
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    assert keys[0] != keys[1]
    client.submit_input({"prompt": "a fox", "idempotency_key": "from-the-input"})
    assert platform.bodies[-1]["input"]["idempotency_key"] == "from-the-input"

"""The planned faults of the local RunPod: their SPECs and counts, what they do to requests, and their page."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from comfypod.emulator.platform.faults import GROUPS, PLATFORM_KINDS, PlatformFault, PlatformFaults
from comfypod.emulator.platform.http import errors_as_json
from comfypod.emulator.platform.striking import fault_routes, faults_on_the_wire

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"


def plan(*specs: str) -> PlatformFaults:
    return PlatformFaults(map(PlatformFault.parse, specs))


# The SPEC.


@pytest.mark.parametrize(
    "spec",
    [
        "latency:route=status,seconds=0.5,jitter=0.25",
        "status:route=run,code=429,acted=true,times=0",
        "cut",
        "cut:route=worker,when=after,worker=w1",
        "lose:chance=0.02,times=0,seed=7",
        "late_progress:seconds=2,shuffle=true,job=a\\,b",
    ],
)
def test_a_fault_gives_its_spec_back(spec: str) -> None:
    assert str(PlatformFault.parse(f" {spec}\n")) == spec


def test_what_is_not_given_has_the_default_of_its_kind() -> None:
    cut = PlatformFault.parse("cut")
    assert (cut.route, cut.when, cut.times, cut.after, cut.chance) == ("any", "before", 1, 0, 1.0)
    assert PlatformFault.parse("status").code == 500
    assert PlatformFault.parse("refuse_result").code == 500
    assert PlatformFault.parse("hang").seconds == 3600.0


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("looze", "Did you mean lose"),
        ("cut:route=jobdone", "Did you mean job-done"),
        ("cut:when=later", "when cannot be 'later'"),
        ("cut:code=500", "no key 'code'"),
        ("lose:route=run", "no key 'route'"),
        ("latency", "Fault latency needs seconds=."),
        ("status:code=200", "from 400 to 599"),
        ("status:acted=yes", "acted must be true or false, not 'yes'"),
        ("lose:chance=2", "chance must be a number from 0 to 1, not '2'"),
        ("lose:chance=nan", "not 'nan'"),
        ("cut:route=job-take,when=after", "use lose"),
        ("status:route=job-take,acted=true", "use lose"),
        ("cut:route=run,job=x", "requests on run name no job"),
        ("cut:route=client,worker=w1", "requests on client name no worker"),
    ],
)
def test_a_wrong_spec_or_one_that_could_never_strike_is_refused(spec: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        PlatformFault.parse(spec)


# The plan.


def test_a_fault_strikes_as_often_as_planned_after_as_many_occasions_as_planned() -> None:
    faults = plan("lose:after=1,times=2,worker=w1")
    assert not faults.strikes("lose", job_id="j", worker_id="w2"), "another worker is no occasion"
    struck = [faults.strikes("lose", job_id="j", worker_id="w1") for _ in range(5)]
    assert struck == [False, True, True, False, False]
    assert faults.to_json() == [{"fault": "lose:after=1,times=2,worker=w1", "occasions": 5, "struck": 2, "spent": True}]


def draws(*specs: str, count: int = 2_000) -> list[bool]:
    faults = plan(*specs)
    return [faults.strikes("lose", job_id="j", worker_id="w") for _ in range(count)]


def test_chance_is_a_rate_and_is_drawn_the_same_in_every_run() -> None:
    struck = draws("lose:chance=0.02,times=0")
    assert 20 <= sum(struck) <= 60
    assert struck == draws("lose:chance=0.02,times=0")
    assert struck != draws("lose:chance=0.02,times=0,seed=1")
    assert sum(draws("lose:chance=0,times=0")) == 0


def test_two_faults_draw_independently() -> None:
    faults = plan("lose:chance=0.5,times=0", "duplicate:chance=0.5,times=0")
    pairs = [
        (faults.strikes("lose", job_id="j", worker_id="w"), faults.strikes("duplicate", job_id="j", worker_id="w"))
        for _ in range(400)
    ]
    assert all(60 <= pairs.count((first, second)) <= 140 for first in (True, False) for second in (True, False))


def test_chance_comes_after_what_must_pass_and_counts_only_strikes() -> None:
    faults = plan("drop_stop:chance=0.5,times=3,after=10")
    struck = [faults.strikes("drop_stop", job_id="j", worker_id="w") for _ in range(100)]
    assert (sum(struck), sum(struck[:10])) == (3, 0)


@pytest.mark.parametrize(
    ("spec", "routes"),
    [
        ("cut:route=run", {"run"}),
        ("cut:route=client", GROUPS["client"]),
        ("cut:route=worker", {"job-take", "job-done", "job-stream", "job-stop", "ping"}),
        ("cut", GROUPS["any"]),
        ("cut:when=after", GROUPS["any"] - {"job-take"}),
        ("status:route=worker,acted=true", {"job-done", "job-stream", "job-stop", "ping"}),
        ("lose", set()),
    ],
)
def test_a_fault_strikes_on_the_routes_that_it_names(spec: str, routes: set[str]) -> None:
    faults = plan(f"{spec}{',' if ':' in spec else ':'}times=0")
    assert {route for route in GROUPS["any"] if faults.at_request(route)} == routes


def test_a_fault_can_be_about_one_job_or_one_worker() -> None:
    faults = plan("cut:job=a,times=0", "latency:worker=w1,seconds=1,times=0")

    def kinds(route: str, job_id: str | None, worker_id: str | None) -> list[str]:
        return [strike.fault.kind for strike in faults.at_request(route, job_id=job_id, worker_id=worker_id)]

    assert kinds("status", "a", None) == ["cut"]
    assert kinds("status", "b", None) == kinds("run", None, None) == []
    assert kinds("job-done", "a", "w1") == ["cut", "latency"]
    assert kinds("ping", None, "w1") == ["latency"]


def test_late_progress_comes_in_order_unless_it_is_shuffled() -> None:
    steady, shuffled = plan("late_progress:seconds=2,times=0"), plan("late_progress:seconds=2,shuffle=true,times=0")

    def delays(faults: PlatformFaults) -> list[float]:
        return [faults.progress_delay_seconds(job_id="j", worker_id="w") for _ in range(50)]

    assert set(delays(steady)) == {2.0}
    drawn = delays(shuffled)
    assert all(2 <= delay <= 4 for delay in drawn)
    assert drawn != sorted(drawn)
    assert plan().progress_delay_seconds(job_id="j", worker_id="w") == 0


def test_jitter_is_drawn_for_each_request() -> None:
    faults = plan("latency:seconds=1,jitter=0.5,times=0")
    seconds = [faults.at_request("run")[0].seconds for _ in range(50)]
    assert all(1 <= value <= 1.5 for value in seconds)
    assert len(set(seconds)) > 40


def test_result_is_refused_with_the_planned_code() -> None:
    faults = plan("refuse_result:code=503,job=j")
    assert faults.refusal_code(job_id="other", worker_id="w") is None
    assert faults.refusal_code(job_id="j", worker_id="w") == 503
    assert faults.refusal_code(job_id="j", worker_id="w") is None


@pytest.fixture
def warnings() -> Iterator[list[dict[str, Any]]]:
    fields: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: fields.append({"event": record.msg, **record.fields})  # type: ignore[method-assign, attr-defined]
    logger = logging.getLogger("comfypod.emulator.events")
    logger.addHandler(handler)
    yield fields
    logger.removeHandler(handler)


def test_every_strike_is_one_event_in_the_log(warnings: list[dict[str, Any]]) -> None:
    faults = plan("lose", "cut")
    for _ in range(2):
        faults.strikes("lose", job_id="j", worker_id="w")
        faults.at_request("run")
    assert warnings == [
        {"event": "fault_strikes", "fault": "lose", "job_id": "j", "worker_id": "w"},
        {"event": "fault_strikes", "fault": "cut", "route": "run"},
    ]


# On the wire.


class Site:
    """A web site with some of the platform's addresses, which notes what took effect."""

    def __init__(self) -> None:
        self.faults = PlatformFaults()
        self.acted: list[str] = []
        self.runner = web.AppRunner(
            self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        self.url = ""

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[faults_on_the_wire(self.faults), errors_as_json])
        for route in ("POST /run", "GET /status/{job}", "GET /job-take-batch/{worker}", "GET /ping/{worker}"):
            method, path = route.split(" ")
            application.router.add_route(method, "/v2/{endpoint}" + path, self._act)
        for route, handler in fault_routes(self.faults).items():
            application.router.add_route(*route.split(" "), handler)
        return application

    async def _act(self, request: web.Request) -> web.StreamResponse:
        self.acted.append(request.path)
        return web.json_response({"acted": True})

    async def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request as clients do that use `requests`."""
        return await asyncio.to_thread(requests.request, method, f"{self.url}{path}", timeout=10, **options)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.runner.setup()
    await web.TCPSite(site.runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{site.runner.addresses[0][1]}"
    yield site
    await site.runner.cleanup()


RUN = "/v2/local/run"


@pytest.mark.parametrize(("when", "acted"), [("before", []), ("after", [RUN])])
async def test_cut_is_the_end_of_the_connection_before_or_after_the_request_took_effect(
    site: Site, when: str, acted: list[str]
) -> None:
    site.faults.add([PlatformFault.parse(f"cut:route=run,when={when}")])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        await site.ask("POST", RUN)
    assert site.acted == acted
    assert (await site.ask("POST", RUN)).json() == {"acted": True}


@pytest.mark.parametrize(("acted", "paths"), [("false", []), ("true", [RUN])])
async def test_status_takes_the_place_of_the_answer(site: Site, acted: str, paths: list[str]) -> None:
    site.faults.add([PlatformFault.parse(f"status:route=client,code=503,acted={acted}")])
    answer = await site.ask("POST", RUN)
    assert (answer.status_code, site.acted) == (503, paths)
    assert answer.json()["error"] == f"Planned fault: status:route=client,code=503,acted={acted}."


async def test_latency_delays_what_then_happens_as_usual(site: Site) -> None:
    site.faults.add([PlatformFault.parse("latency:route=status,seconds=0.3")])
    started = time.monotonic()
    assert (await site.ask("GET", "/v2/local/status/j1")).status_code == 200
    assert time.monotonic() - started >= 0.3


async def test_hang_answers_nothing_and_then_cuts(site: Site) -> None:
    site.faults.add([PlatformFault.parse("hang:route=run,seconds=0.3")])
    started = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        await site.ask("POST", RUN)
    assert time.monotonic() - started >= 0.3
    assert site.acted == []


async def test_hanging_request_does_not_keep_the_server_from_ending(site: Site) -> None:
    site.faults.add([PlatformFault.parse("hang")])
    request = asyncio.create_task(site.ask("POST", RUN))
    async with asyncio.timeout(5):
        while not site.faults.to_json()[0]["struck"]:
            await asyncio.sleep(0.01)
        await site.runner.cleanup()
        with pytest.raises(requests.ConnectionError):
            await request


async def test_several_faults_strike_in_their_order_until_one_ends_the_request(site: Site) -> None:
    site.faults.add(map(PlatformFault.parse, ("cut:when=after", "latency:seconds=0.2", "status:code=429", "cut")))
    started = time.monotonic()
    assert (await site.ask("POST", RUN)).status_code == 429
    assert time.monotonic() - started >= 0.2
    assert site.acted == [], "what would strike afterwards has nothing to strike"


async def test_requests_of_one_worker_and_batches_are_found(site: Site) -> None:
    site.faults.add([PlatformFault.parse("status:route=job-take,worker=w1,code=429,times=0")])
    codes = [
        (await site.ask("GET", f"/v2/local/{path}")).status_code
        for path in ("job-take-batch/w1?batch_size=2", "job-take-batch/w2?batch_size=2", "ping/w1")
    ]
    assert codes == [429, 200, 200]


async def test_unknown_addresses_are_no_occasion(site: Site) -> None:
    site.faults.add([PlatformFault.parse("cut:times=0")])
    for path in ("/v2/local/nothing", "/run", "/"):
        assert (await site.ask("GET", path)).status_code == 404
    assert site.faults.to_json()[0]["occasions"] == 0


async def test_faults_are_planned_shown_and_forgotten_while_it_runs(site: Site) -> None:
    control = "/emulator/faults"
    site.faults.add([PlatformFault.parse("cut:times=0")])
    answer = await site.ask("POST", control, json={"faults": ["lose:chance=0.02,times=0"]})
    assert (answer.status_code, [fault["fault"] for fault in answer.json()["faults"]]) == (
        200,
        ["cut:times=0", "lose:chance=0.02,times=0"],
    )
    assert (await site.ask("GET", control)).json() == answer.json()
    assert (await site.ask("DELETE", control)).json() == {"faults": []}
    assert list(site.faults) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"faults": ["lose", "looze"]}, "Did you mean lose"),
        ({"faults": "lose"}, 'Send {"faults"'),
        ({"faults": [1]}, 'Send {"faults"'),
        ({}, 'Send {"faults"'),
        (["lose"], "must be a JSON object"),
    ],
)
async def test_wrong_plan_is_refused_as_a_whole(site: Site, body: Any, says: str) -> None:
    answer = await site.ask("POST", "/emulator/faults", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert list(site.faults) == []


# The page.


def section() -> str:
    return PAGE.read_text(encoding="utf-8").split("## Faults of the local RunPod", 1)[1]


def test_every_kind_is_documented_with_its_keys_and_no_others() -> None:
    rows = re.findall(r"^\| `([a-z_]+):?([^`]*)`(?: \(no keys of its own\))? \|", section(), flags=re.MULTILINE)
    common = set(re.findall(r"`([a-z]+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", section(), flags=re.MULTILINE))))
    assert {"times", "after", "chance", "seed", "job", "worker"} <= common
    documented = {name: set(re.findall(r"([a-z]+)=", keys)) for name, keys in rows}
    assert documented == {
        name: kind.keys.keys() - {"times", "after", "chance", "seed", "job", "worker"}
        for name, kind in PLATFORM_KINDS.items()
    }


def test_every_route_is_documented() -> None:
    routes = section().split("### Requests", 1)[1].split("|", 1)[0]
    assert {*GROUPS, *GROUPS["any"]} <= set(re.findall(r"`([a-z-]+)`", routes))


def test_the_examples_of_the_page_can_be_planned() -> None:
    examples = [*re.findall(r"--fault=(\S+)", section()), *re.findall(r'"faults": \["([^"]+)"\]', section())]
    assert len(examples) == 4
    assert list(map(str, plan(*examples))) == examples

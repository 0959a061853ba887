"""How often an endpoint is asked for its health, by a clock that the tests do not wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from comfypod.errors import CloudUnavailable
from comfypod.web.documents import EndpointState
from comfypod.web.runs.endpoint_watch import IDLE_PAUSE_SECONDS, PAUSE_SECONDS, EndpointWatch

IDLE = {"jobs": {"inQueue": 0, "inProgress": 0}, "workers": {"idle": 1, "running": 0}}
BUSY = {"jobs": {"inQueue": 0, "inProgress": 1}, "workers": {"idle": 0, "running": 1}}


class Endpoint:
    """Answers what it is told to, and has itself watched."""

    def __init__(self, *answers: Any) -> None:
        self.asked = 0
        self.told: list[EndpointState] = []
        self._answers = list(answers)
        self.watch = EndpointWatch(
            EndpointState(name="local", is_local=True),
            ask=self._answer,
            on_change=self.told.append,
            is_watched=lambda: True,
            is_waited_for=lambda: False,
        )

    async def _answer(self) -> Any:
        self.asked += 1
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_while_something_runs_it_is_asked_often() -> None:
    endpoint = Endpoint(BUSY, IDLE)
    await endpoint.watch.look()
    assert endpoint.watch._interval_seconds() == PAUSE_SECONDS
    endpoint.watch._asked_at -= PAUSE_SECONDS
    await endpoint.watch.look()
    assert endpoint.watch._interval_seconds() == IDLE_PAUSE_SECONDS


async def test_an_endpoint_that_a_run_has_reached_again_is_asked_at_once() -> None:
    endpoint = Endpoint(CloudUnavailable("RunPod", "it is away"), IDLE)
    await endpoint.watch.look()
    assert [state.is_reachable for state in endpoint.told] == [False]
    watching = asyncio.create_task(endpoint.watch.watch())
    await asyncio.sleep(0)
    endpoint.watch.reached()
    async with asyncio.timeout(1):
        while not endpoint.watch.state.is_reachable:
            await asyncio.sleep(0.01)
    watching.cancel()
    assert (endpoint.asked, endpoint.told[-1].error) == (2, None)

"""Every recorded prompt, with one fault at one of its messages: it ends as it did, and nothing is left behind.

By default a sample runs (`positions` says which). With COMFYPOD_ALL_CUTS=1 every fault strikes at every message of
every prompt. A case is called VERSION/RECORDING/PROMPT/FAULT/MESSAGE, and COMFYPOD_CUT=CASE runs it alone. ``-s`` shows
the numbers.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from replay_server import TO_THE_END, Fault, ReplayServer, Stage

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.outputs import PromptResult
from comfypod.comfyui.protocol import Event, NodeProgressed, NodesCached, NodeStarted, PreviewReceived
from comfypod.comfyui.server import RemoteServer
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, DeadlineExceeded
from tests.recordings import SCENARIOS, VERSIONS, Play, Recording, show

ALL = os.environ.get("COMFYPOD_ALL_CUTS") == "1"
ONE = os.environ.get("COMFYPOD_CUT")
PATIENCE = Patience(silence_seconds=0.15, reconnect_seconds=10, interrupt_seconds=10, stall_seconds=20)
CASE_SECONDS = 40.0
AT_A_TIME = 48

FAULTS = (
    Fault("none"),
    Fault("cut", socket="abort", waits=True),
    Fault("close_frame", socket="close", waits=True),
    Fault("cut_and_refused_for_3_messages", socket="abort", away=3, waits=True),
    Fault("cut_and_refused_to_the_end", socket="abort", away=TO_THE_END),
    Fault("cut_again_a_message_later", socket="abort", waits=True, again=1),
    Fault("cut_again_on_return", socket="abort", waits=True, returning="abort"),
    Fault("forgotten", socket="forget"),
    Fault("forgotten_on_return", socket="abort", waits=True, returning="forget"),
    Fault("dropped", copies=0),
    Fault("dropped_while_others_are_busy", copies=0, chatter=True),
    Fault("duplicated", copies=2),
    Fault("paused", pause_seconds=0.2),
    Fault("paused_long", pause_seconds=0.5),
    Fault("delayed", hold_seconds=0.2),
    Fault("delayed_long", hold_seconds=0.5),
    Fault("answer_lost", submission="answer lost", waits=True),
    Fault("queue_slow", socket="abort", waits=True, call=(["GET queue"], "slow")),
    Fault("queue_reset", socket="abort", waits=True, call=(["GET queue"], "reset")),
    Fault("queue_cut_short", socket="abort", waits=True, call=(["GET queue"], "half")),
    Fault("queue_503", socket="abort", waits=True, call=(["GET queue"], "503")),
    Fault("history_slow", socket="abort", waits=True, call=(["GET history"], "slow")),
    Fault("history_reset", socket="abort", waits=True, call=(["GET history"], "reset")),
    Fault("history_cut_short", socket="abort", waits=True, call=(["GET history"], "half")),
    Fault("history_503", socket="abort", waits=True, call=(["GET history"], "503")),
    Fault("ends_between_two_questions", socket="abort", waits=True, call=(["GET queue", "GET history"], "race")),
    Fault("forget_slow", socket="abort", waits=True, call=(["POST history"], "slow")),
    Fault("forget_reset", socket="abort", waits=True, call=(["POST history"], "reset")),
    Fault("forget_503", socket="abort", waits=True, call=(["POST history"], "503")),
    Fault("request_lost", submission="request lost"),
    Fault("history_late", late_seconds=0.2),
)
AT_NO_MESSAGE = {"none", "request_lost", "history_late"}

# Recordings without a prompt whose client got all of its messages: nothing was submitted, or only refused or without a
# client, or the process or its connection ended in between.
WITHOUT_PLAY = {
    *("boot_bad_flag", "boot_failed_custom_node", "boot_port_in_use", "compressed_responses", "cors_and_origin"),
    *("http_inventory", "signals", "upload_limit", "upload_mask", "invalid_prompts", "client_ids"),
    *("process_exit_in_node", "sigterm_mid_run", "ui_unserialisable", "worker_thread_death"),
    *("ws_connect_late", "ws_reconnect", "ws_reconnect_while_blocked"),
}


@dataclass(frozen=True)
class Case:
    """One prompt with one fault."""

    play: Play
    fault: Fault

    @property
    def name(self) -> str:
        return f"{self.play.name}/{self.fault.name}/{self.fault.at}"

    @property
    def code(self) -> str:
        """How it must end. With its answer is lost that some outputs were refused; the history is all there is then."""
        play = replace(self.play, node_errors={}) if self.fault.submission == "answer lost" else self.play
        return play.code


@dataclass(frozen=True)
class Outcome:
    """How a case ended; without problems it ended well."""

    case: Case
    seconds: float
    problems: Sequence[str]


@cache
def plays() -> Sequence[Play]:
    prompts = [
        prompt for version in VERSIONS for scenario in SCENARIOS for prompt in Recording.load(version, scenario).prompts
    ]
    return [play for prompt in prompts if (play := Play.of(prompt)) is not None]


@cache
def different_plays(name_parts: int) -> Sequence[Play]:
    """The first play of each sequence of messages: in each recording (2 parts), or in each version (1 part)."""
    first: dict[object, Play] = {}
    for play in plays():
        first.setdefault((*play.name.split("/")[:name_parts], tuple(play.kinds), play.code), play)
    return list(first.values())


def positions(number: int, play: Play, fault: Fault) -> Iterator[int]:
    """The messages of the ``number``-th play at which a fault strikes.

    A cut strikes at every third, beginning elsewhere in each play, and at the last four; in a play of more than 40
    messages at every 20th instead, and so in one whose sequence of messages another recording has too. Another fault
    strikes at every 60th, and in every 8th play at the last four besides.
    """
    length, shift = len(play.messages), FAULTS.index(fault) + number
    for index in range(length):
        if fault.name != "cut":
            struck = (index + shift) % 60 == 0 or (index >= length - 4 and shift % 8 == 0)
        elif play not in different_plays(1):
            struck = (index + shift) % 20 == 0
        else:
            struck = (index + shift) % (3 if length <= 40 else 20) == 0 or index >= length - 4
        if struck or ALL:
            yield index


def cases_of(fault: Fault) -> Sequence[Case]:
    if ONE:
        name, _, index = ONE.rpartition("/")
        return [Case(play, replace(fault, at=int(index))) for play in plays() if f"{play.name}/{fault.name}" == name]
    if fault.name in AT_NO_MESSAGE:
        return [Case(play, fault) for play in (plays() if ALL else different_plays(2))]
    chosen = plays() if ALL else different_plays(2 if fault.name == "cut" else 1)
    return [
        Case(play, replace(fault, at=index))
        for number, play in enumerate(chosen)
        for index in positions(number, play, fault)
    ]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_prompt_ends_as_it_did(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "comfypod")  # else thousands of lines surround a failure
    cases = cases_of(fault)
    if ONE and not cases:
        pytest.skip(f"only {ONE} is wanted")
    begun = time.monotonic()
    outcomes = await run_all(cases)
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    failed = [outcome for outcome in outcomes if outcome.problems]
    show(
        f"{len(cases):6} cases of {fault.name}: {len(failed)} failed, in {time.monotonic() - begun:.1f} s, "
        f"the slowest {slowest.seconds:.2f} s ({slowest.case.name})"
    )
    if failed:
        lines = [f"COMFYPOD_CUT={outcome.case.name}: {'; '.join(outcome.problems)}" for outcome in failed[:20]]
        pytest.fail(f"{len(failed)} of {len(cases)} cases failed:\n" + "\n".join(lines), pytrace=False)


@pytest.mark.skipif(ONE is not None, reason="only one case is wanted")
@pytest.mark.parametrize("submission", [None, "request lost", "answer lost"])
async def test_a_prompt_that_is_not_over_in_time_is_stopped(submission: Any) -> None:
    play = next(play for play in plays() if play.name == "0.8.0/ksampler_no_preview/0")
    # 30 messages are unread when the answer to the submission is lost: more than websockets likes to keep.
    fault = Fault("late", at=30, pause_seconds=5, submission=submission)
    patience = replace(PATIENCE, silence_seconds=5)  # so that it is not asked for before its time is over
    async with ReplayServer() as server:
        url, stage = server.open(play, fault)
        async with ComfyUI.at(RemoteServer(url), patience) as comfyui:
            with pytest.raises(DeadlineExceeded):
                await comfyui.run(play.workflow, Deadline.after(1), lambda _: None)
        assert (stage.accepted, stage.left_behind) == (1, [])
        async with asyncio.timeout(1):
            while stage.listeners:
                await asyncio.sleep(0.01)
    gc.collect()  # so that a connection that was not closed is complained of here, and not in a later test


@pytest.mark.skipif(ONE is not None, reason="only one case is wanted")
def test_the_cases_are_many() -> None:
    counts = {fault.name: len(cases_of(fault)) for fault in FAULTS}
    show(f"{sum(counts.values())} cases: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    assert sum(counts.values()) >= 4000
    assert counts["cut"] >= 1000
    assert min(counts.values()) >= 80
    scenarios = {play.name.split("/")[1] for play in plays()}
    assert set(SCENARIOS) - scenarios == WITHOUT_PLAY
    assert {case.play.name.split("/")[1] for case in cases_of(FAULTS[1])} == scenarios
    often = {"success", "prompt_failed", "prompt_interrupted"}
    assert all({case.code for case in cases_of(fault)} >= often for fault in FAULTS)
    assert {case.code for case in cases_of(FAULTS[1])} == often | {"out_of_memory", "prompt_rejected"}


async def run_all(cases: Sequence[Case]) -> Sequence[Outcome]:
    turns = asyncio.Semaphore(AT_A_TIME)

    async def run_in_turn(case: Case) -> Outcome:
        async with turns:
            return await run(server, case)

    async with ReplayServer() as server:
        return await asyncio.gather(*map(run_in_turn, cases))


async def run(server: ReplayServer, case: Case) -> Outcome:
    """Run a case to its end with the real client."""
    url, stage = server.open(case.play, case.fault)
    remote, told, begun = RemoteServer(url), list[Event](), time.monotonic()
    try:
        async with ComfyUI.at(remote, PATIENCE) as comfyui:
            found: PromptResult | ComfyPodError = await comfyui.run(
                case.play.workflow, Deadline.after(CASE_SECONDS), told.append
            )
    except ComfyPodError as error:
        found = error
    problems = [*wrong_end(case, found), *wrong_events(case, told), *wrong_traces(stage, remote)]
    await server.close(url)
    return Outcome(case, time.monotonic() - begun, problems)


def wrong_end(case: Case, found: PromptResult | ComfyPodError) -> Iterator[str]:
    if isinstance(found, ComfyPodError):
        if found.code != case.code:
            yield f"ended as {found.code} instead of {case.code}: {found}"
        elif case.code != "prompt_rejected" and found.details()["node_id"] != case.play.failed_node:
            yield f"blamed node {found.details()['node_id']} instead of {case.play.failed_node}"
        return
    if case.code != "success":
        yield f"ended well instead of as {case.code}"
    files = [(file.node_id, file.filename, file.subfolder, file.type) for file in found.files]
    if files != list(case.play.files):
        yield f"left {files} instead of {case.play.files}"


def wrong_events(case: Case, told: Sequence[Event]) -> Iterator[str]:
    for item in told:
        if isinstance(item, NodeStarted | NodeProgressed | PreviewReceived):
            nodes = {item.node_id} - {None}
        else:
            nodes = set(item.node_ids) if isinstance(item, NodesCached) else set()
        known = case.play.nodes | set(case.play.workflow.nodes)
        if not nodes <= known:
            yield f"told of {nodes - known}, which are not its own"


def wrong_traces(stage: Stage, remote: RemoteServer) -> Iterator[str]:
    if stage.left_behind:
        yield f"left its prompt behind in {' and '.join(stage.left_behind)}"
    if stage.accepted != 1:
        yield f"was queued {stage.accepted} times"
    if remote.refresh_reason:
        yield f"condemned ComfyUI: {remote.refresh_reason}"

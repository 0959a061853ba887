"""The protocol against every recording of ComfyUI 0.3.64 and 0.8.0: each prompt ends as the recording says.

What a recording says is worked out here from its history answers and messages, without the code under test. ``-s``
shows the numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from comfypod.comfyui.diagnosis import explain_exit, failed_import, is_out_of_memory, plain, tells_dead_thread
from comfypod.comfyui.outputs import PromptResult
from comfypod.comfyui.process import LOG_LINE_CHARACTERS, LOG_TAIL_LINES
from comfypod.comfyui.protocol import Event, NodeProgressed, NodeStarted, PromptSession, QueueSnapshot
from comfypod.errors import ComfyPodError
from comfypod.schema.workflow import Workflow
from tests.recordings import (
    SCENARIOS,
    VERSIONS,
    Line,
    RecordedPrompt,
    Recording,
    expected_code,
    expected_files,
    raw_message,
    show,
)

# How a prompt ended, how that is known, and how many did so in each version.
PROMPTS = {
    ("prompt_rejected", "the answer to its submission"): (53, 53),
    ("success", "its history"): (132, 130),
    ("prompt_failed", "its history"): (13, 12),
    ("prompt_interrupted", "its history"): (4, 4),
    ("out_of_memory", "its history"): (2, 2),
    ("success", "its messages: its history was not recorded"): (44, 44),
    ("prompt_failed", "its messages: its history was not recorded"): (1, 1),
    ("prompt_interrupted", "its messages: its history was not recorded"): (2, 2),
    ("none yet", "the queue, which has it to the last"): (3, 6),
    ("prompt_lost", "queue and history, which do not have it"): (5, 5),
    # The rest have no verdict from this side of the wire:
    ("none", "the process, which ended before it"): (4, 4),
    ("none", "nothing: nobody listened, and nobody asked for its history"): (14, 14),
}
# The thread also dies in worker_thread_death, of a SystemExit, of which Python's threads say nothing (`threading`).
DEAD_THREADS = {("0.3.64", "node_exception"), ("0.8.0", "node_exception"), ("0.8.0", "queue_same_number")}

every_recording = pytest.mark.parametrize(
    ("version", "scenario"), [(version, scenario) for version in VERSIONS for scenario in SCENARIOS]
)


@dataclass
class Replayed:
    """What a session made of a prompt; ``verdicts`` are those of the queue answers, then the final one."""

    session: PromptSession
    verdict: str = "none"
    verdicts: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    result: PromptResult | None = None
    error: ComfyPodError | None = None


def recorded_outcome(prompt: RecordedPrompt) -> tuple[str, str]:
    """How a prompt ended according to its recording, and how that is known."""
    answer = prompt.answer
    if answer and (answer["status"] != 200 or answer["body"]["json"]["node_errors"]):
        return "prompt_rejected", "the answer to its submission"
    if prompt.entry:
        return expected_code(prompt.entry), "its history"
    if prompt.told_entry:
        return expected_code(prompt.told_entry), "its messages: its history was not recorded"
    return outcome_without_end(prompt)


def outcome_without_end(prompt: RecordedPrompt) -> tuple[str, str]:
    if prompt.queue_answers and prompt.prompt_id in ids_in(prompt.queue_answers[-1][1]):
        return "none yet", "the queue, which has it to the last"
    if prompt.queue_answers and prompt.history_answers:
        return "prompt_lost", "queue and history, which do not have it"
    if not prompt.queue_answers and any(ended_by_itself(line) for line in prompt.recording.lines):
        return "none", "the process, which ended before it"
    return "none", "nothing: nobody listened, and nobody asked for its history"


def ids_in(queue_answer: Mapping[str, Any]) -> set[str]:
    return {item[1] for items in queue_answer.values() for item in items}


def ended_by_itself(line: Line) -> bool:
    """All recordings end with a kill, except of what had ended before."""
    return bool(line["type"] == "proc.exit" and line["returncode"] != -9)


def final_snapshot(prompt: RecordedPrompt) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The newest recorded answers of queue and history, in the order in which a client asks; None without any."""
    if prompt.entry or prompt.told_entry:
        return {"queue_running": [], "queue_pending": []}, {prompt.prompt_id: prompt.entry or prompt.told_entry}
    if not prompt.queue_answers:
        return None
    _, queue = prompt.queue_answers[-1]
    return (queue, {}) if prompt.history_answers or prompt.prompt_id in ids_in(queue) else None


def replay(prompt: RecordedPrompt) -> Replayed:
    """Feed a session with all that the recording has about a prompt."""
    replayed = Replayed(PromptSession(prompt.prompt_id, prompt.workflow))
    try:
        if prompt.answer:
            replayed.session.receive_answer(prompt.answer["status"], text_of(prompt.answer["body"]))
    except ComfyPodError as error:
        replayed.verdict, replayed.error = error.code, error
        return replayed
    for line in prompt.frames:
        replayed.events += replayed.session.receive_message(raw_message(line) or "")
    for _, queue in prompt.queue_answers:
        if prompt.prompt_id in ids_in(queue):
            replayed.verdicts.append(verdict_of(replayed, queue, {}))
    if snapshot := final_snapshot(prompt):
        replayed.verdict = verdict_of(replayed, *snapshot)
    return replayed


def text_of(body: Mapping[str, Any]) -> str:
    return json.dumps(body["json"]) if "json" in body else str(body.get("text", ""))


def verdict_of(replayed: Replayed, queue: Mapping[str, Any], history: Mapping[str, Any]) -> str:
    try:
        replayed.result = replayed.session.receive_snapshot(QueueSnapshot.from_json(queue), history)
    except ComfyPodError as error:
        replayed.error = error
        return error.code
    return "none yet" if replayed.result is None else "success"


def all_prompts() -> Iterator[RecordedPrompt]:
    for version in VERSIONS:
        for scenario in SCENARIOS:
            yield from Recording.load(version, scenario).prompts


@every_recording
def test_every_prompt_ends_as_its_recording_says(version: str, scenario: str) -> None:
    for prompt in Recording.load(version, scenario).prompts:
        verdict, evidence = recorded_outcome(prompt)
        replayed = replay(prompt)
        assert replayed.verdict == verdict, f"{prompt.name}: known from {evidence}"
        assert set(replayed.verdicts) <= {"none yet"}, prompt.name  # a queued prompt has not ended
        if replayed.error:
            assert str(replayed.error).strip(), prompt.name
        if replayed.result:
            check_outputs(prompt, replayed.result)


def check_outputs(prompt: RecordedPrompt, result: PromptResult) -> None:
    entry = prompt.entry or prompt.told_entry
    assert entry
    found = [(file.node_id, file.filename, file.subfolder, file.type) for file in result.files]
    assert found == expected_files(entry, prompt.workflow), prompt.name
    for node_id in {file.node_id for file in result.files}:
        indices = [file.index for file in result.files if file.node_id == node_id]
        assert indices == list(range(len(indices))), prompt.name
    shown = [
        value
        for keys in entry["outputs"].values()
        for key, values in keys.items()
        for value in values
        if key != "animated"
    ]
    assert len(result.files) + len(result.texts) == len(shown), prompt.name


def test_no_prompt_is_left_out() -> None:
    outcomes: dict[tuple[str, str], list[int]] = {}
    for prompt in all_prompts():
        counts = outcomes.setdefault(recorded_outcome(prompt), [0, 0])
        counts[VERSIONS.index(prompt.recording.version)] += 1
    for (verdict, evidence), counts in sorted(outcomes.items(), key=lambda item: -sum(item[1])):
        show(f"{counts[0]:4} {counts[1]:4}  {verdict:18}  known from {evidence}")
    total = sum(map(sum, outcomes.values()))
    show(f"{total} prompts in {len(SCENARIOS)} recordings of each of {', '.join(VERSIONS)}")
    assert {outcome: tuple(counts) for outcome, counts in outcomes.items()} == PROMPTS
    assert total == sum(map(sum, PROMPTS.values()))
    assert len(SCENARIOS) == 70


@every_recording
def test_what_is_told_on_the_way_is_what_was_recorded(version: str, scenario: str) -> None:
    for prompt in Recording.load(version, scenario).prompts:
        replayed = replay(prompt)
        if replayed.verdict == "prompt_rejected":
            continue
        own = [(message["type"], message["data"]) for message in prompt.messages]
        ends = [data for kind, data in own if kind == "executing" and data["node"] is None]
        assert replayed.session.end_announced == bool(ends), prompt.name
        running = [data["display_node"] for kind, data in own if kind == "executing" and data["node"] is not None]
        started = [event.node_id for event in replayed.events if isinstance(event, NodeStarted)]
        assert [node for node in started if node in running] == running or resumed(prompt), prompt.name
        steps = [(data["value"], data["max"]) for kind, data in own if kind == "progress"]
        told = [(event.value, event.maximum) for event in replayed.events if isinstance(event, NodeProgressed)]
        assert told == steps, prompt.name
        if prompt.workflow.nodes:
            assert set(started) <= set(prompt.workflow.nodes), prompt.name  # never an id of a node made at run time


def resumed(prompt: RecordedPrompt) -> bool:
    """Whether its client came back while it ran, and was told the running node once more."""
    return len(prompt.connections) > 1


@every_recording
def test_no_message_raises(version: str, scenario: str) -> None:
    """Not even one of somebody else's prompt, or of none."""
    session = PromptSession("another", Workflow({}))
    for line in Recording.load(version, scenario).lines:
        message = raw_message(line)
        if message is not None:
            session.receive_message(message)
            session.concerns(message)
    assert not session.end_announced


def test_messages_of_which_only_the_ends_were_recorded_have_their_length_again() -> None:
    lines = [line for _, _, line in lines_of("ws.text") if "head" in line]
    assert len(lines) == 4
    for line in lines:
        message = raw_message(line)
        assert isinstance(message, str)
        assert len(message) == line["length"]
        assert json.loads(message)["type"] == line["msg_type"]


def test_messages_alone_tell_what_the_history_says() -> None:
    """Prompts whose history was not recorded are judged by their messages: where both are there, both agree."""
    compared = 0
    for prompt in all_prompts():
        told = prompt.told_entry
        if not prompt.entry or not told or [item["type"] for item in prompt.messages].count("execution_start") != 1:
            continue
        compared += 1
        for key in ("outputs", "status"):
            assert json.dumps(told[key], sort_keys=True) == json.dumps(prompt.entry[key], sort_keys=True), prompt.name
        assert told["meta"].keys() == prompt.entry["meta"].keys(), prompt.name
    show(f"{compared} prompts have both messages and a history, and they agree")
    assert compared == 271


def lines_of(*kinds: str) -> Iterator[tuple[str, str, Line]]:
    for version in VERSIONS:
        for scenario in SCENARIOS:
            for line in Recording.load(version, scenario).lines:
                if line["type"] in kinds:
                    yield version, scenario, line


def test_a_failed_import_is_told_where_there_is_one() -> None:
    found = [
        (version, scenario, failure)
        for version, scenario, line in lines_of("proc.line")
        if (failure := failed_import(plain(line["text"])))
    ]
    failure = ("lab_broken_import", "No module named 'this_module_does_not_exist'")
    assert found == [(version, "boot_failed_custom_node", failure) for version in VERSIONS]


def test_a_dead_execution_thread_is_told_where_there_is_one() -> None:
    found = {
        (version, scenario) for version, scenario, line in lines_of("proc.line") if tells_dead_thread(line["text"])
    }
    assert found == DEAD_THREADS


def log_tail(lines: list[str]) -> list[str]:
    """What a `ComfyUIProcess` keeps of a log."""
    return [plain(line)[:LOG_LINE_CHARACTERS] for line in lines if plain(line)][-LOG_TAIL_LINES:]


def test_every_exit_is_explained_and_only_two_have_a_reason_in_the_log() -> None:
    explained: dict[tuple[str, str], str] = {}
    tail: list[str] = []
    exits: Counter[str] = Counter()
    for version, scenario, line in lines_of("proc.start", "proc.line", "proc.exit"):
        if line["type"] == "proc.start":
            tail = []
        elif line["type"] == "proc.line":
            tail.append(line["text"])
        else:
            sentence, _, reason = explain_exit(line["returncode"], log_tail(tail)).partition("; ")
            exits[sentence] += 1
            if reason:
                explained[version, scenario] = reason
    for sentence, count in exits.most_common():
        show(f"{count:4}  {sentence}")
    assert set(explained) == {(version, name) for version in VERSIONS for name in ("boot_bad_flag", "boot_port_in_use")}
    for version in VERSIONS:
        assert "--no-such-flag" in explained[version, "boot_bad_flag"]
        assert "port is taken (address already in use)" in explained[version, "boot_port_in_use"]
    assert sum(exits.values()) == 148


@pytest.mark.parametrize("version", VERSIONS)
def test_a_healthy_start_that_is_ended_at_any_line_has_no_reason_in_the_log(version: str) -> None:
    """The lines of a start that went well explain nothing: what ended it did."""
    lines = [line["text"] for line in Recording.load(version, "boot").lines if line["type"] == "proc.line"]
    invented = {
        explain_exit(-15, log_tail(lines[:count]))
        for count in range(len(lines) + 1)
        if explain_exit(-15, log_tail(lines[:count])) != "it was ended by SIGTERM"
    }
    assert not invented


def test_memory_was_short_in_two_failures_and_in_no_other() -> None:
    failures = {
        (version, scenario, data["exception_type"], data["exception_message"])
        for version, scenario, line in lines_of("ws.text")
        if (data := failure_in(line)) is not None
    }
    short = [item for item in sorted(failures) if is_out_of_memory(item[2], item[3])]
    assert {(version, scenario) for version, scenario, _, _ in short} == {(version, "oom") for version in VERSIONS}
    assert [exception_type for _, _, exception_type, _ in short] == ["RuntimeError", "torch.OutOfMemoryError"] * 2
    assert len(failures) > 20


def failure_in(line: Line) -> Mapping[str, Any] | None:
    message = json.loads(str(raw_message(line)))
    return message["data"] if message["type"] == "execution_error" else None

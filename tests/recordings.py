"""Recordings of ComfyUI 0.3.64 and 0.8.0 as tests read them: what was asked and answered, and what each prompt said.

A recording is a file of JSON lines in ``tests/transcripts/VERSION``: the server's log, HTTP requests with their
answers, and every websocket frame, in the order in which one client saw them (``n`` is the running number).
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from comfypod.schema.workflow import Workflow

TRANSCRIPTS = Path(__file__).parent / "transcripts"
VERSIONS = ("0.3.64", "0.8.0")
SCENARIOS = sorted(path.stem for path in (TRANSCRIPTS / "0.8.0").glob("*.jsonl"))

END_KINDS = ("execution_success", "execution_error", "execution_interrupted")
HISTORY_KINDS = ("execution_start", "execution_cached", *END_KINDS)

# Of two recorded errors only the beginning and the end were kept; every other one has these fields in between.
_LEFT_OUT = '", "exception_type": "ValueError", "traceback": [], "current_inputs": {"image": ["'

Line = dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """One scenario, played against one version of ComfyUI."""

    version: str
    scenario: str
    lines: Sequence[Line]

    @classmethod
    @cache
    def load(cls, version: str, scenario: str) -> Recording:
        text = (TRANSCRIPTS / version / f"{scenario}.jsonl").read_text(encoding="utf-8")
        return cls(version, scenario, [json.loads(line) for line in text.splitlines()])

    @cached_property
    def requests(self) -> Mapping[int, Line]:
        return {line["id"]: line for line in self.lines if line["type"] == "http.request"}

    @cached_property
    def answers(self) -> Mapping[int, Line]:
        return {line["id"]: line for line in self.lines if line["type"] == "http.response"}

    @cached_property
    def clients(self) -> Mapping[str, str]:
        """The client id of each websocket; a client that named none was told its ``sid`` in the first message."""
        clients: dict[str, str] = {}
        for line in self.lines:
            if line["type"] == "ws.open":
                clients[line["conn"]] = parse_qs(urlsplit(line["path"]).query).get("clientId", [""])[0]
            elif line["type"] == "ws.text" and not clients[line["conn"]]:
                clients[line["conn"]] = line["json"]["data"]["sid"]
        return clients

    @cached_property
    def prompts(self) -> Sequence[RecordedPrompt]:
        """Every prompt, in order of submission; then those whose submission was not recorded, but their messages."""
        submitted = [
            RecordedPrompt(self, request, self.answers[key])
            for key, request in self.requests.items()
            if (request["method"], path_of(request).removeprefix("/api")) == ("POST", "/prompt")
        ]
        known = {prompt.prompt_id for prompt in submitted}
        heard = dict.fromkeys(prompt_id for line in self.lines if (prompt_id := prompt_id_of(line)) is not None)
        return [*submitted, *(RecordedPrompt(self, None, None, other) for other in heard if other not in known)]

    def answers_to_get(self, path: str) -> Sequence[Line]:
        """The answers to ``GET path``, with or without the prefix ``/api``; ids in ``path`` are not quoted."""
        return [
            answer
            for key, answer in self.answers.items()
            if self.requests[key]["method"] == "GET" and path_of(self.requests[key]).removeprefix("/api") == path
        ]


@dataclass(frozen=True)
class RecordedPrompt:
    """One prompt of a recording: its submission, and all that was told about it afterwards."""

    recording: Recording
    request: Line | None
    answer: Line | None
    heard_id: str = ""

    @cached_property
    def prompt_id(self) -> str:
        """The id that ComfyUI gave it; of a refused one the id that it asked for, or one that nothing else has."""
        answer = self.answer["body"].get("json") if self.answer else None
        if isinstance(answer, dict) and "prompt_id" in answer:
            return str(answer["prompt_id"])
        return self.heard_id or str(self.body.get("prompt_id") or f"refused {self.since}")

    @property
    def number(self) -> int:
        """Its place among the prompts of its recording, from 0."""
        return self.recording.prompts.index(self)

    @property
    def name(self) -> str:
        return f"{self.recording.version}/{self.recording.scenario}/{self.number}"

    @property
    def since(self) -> int:
        """The running number from which on lines may be about it."""
        return int(self.request["n"]) if self.request else 0

    @property
    def body(self) -> Mapping[str, Any]:
        """What was posted, as far as it was an object and is recorded."""
        body = (self.request or {}).get("body") or {}
        return body["json"] if isinstance(body.get("json"), dict) else {}

    @cached_property
    def client_id(self) -> Any:
        """Whom its messages are for: mostly a text, None for nobody, and once a number and a list."""
        extra = self.body.get("extra_data")
        named = self.body.get("client_id") or (extra.get("client_id") if isinstance(extra, dict) else None)
        if named or self.body:
            return named
        if self.entry:
            return self.entry["prompt"][3].get("client_id")
        return next((self.recording.clients[line["conn"]] for line in self._lines if self.is_told_in(line)), None)

    @cached_property
    def workflow(self) -> Workflow:
        """Empty where neither the submission nor the history has it."""
        nodes = self.body.get("prompt") or (self.entry["prompt"][2] if self.entry else {})
        return Workflow(nodes if isinstance(nodes, dict) else {})

    @property
    def _lines(self) -> Sequence[Line]:
        return [line for line in self.recording.lines if line.get("n", -1) >= self.since]

    @cached_property
    def connections(self) -> Sequence[str]:
        """The websockets of its client, in order; without a client the first one that got a message about it."""
        if self.client_id is None:
            return [line["conn"] for line in self._lines if self.is_told_in(line)][:1]
        return [name for name, client in self.recording.clients.items() if client == self.client_id]

    @cached_property
    def frames(self) -> Sequence[Line]:
        """All websocket frames that its client got after its submission, also those about other prompts."""
        kinds = ("ws.text", "ws.binary")
        return [line for line in self._lines if line["type"] in kinds and line["conn"] in self.connections]

    def is_told_in(self, line: Line) -> bool:
        return prompt_id_of(line) == self.prompt_id

    @cached_property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The text messages about it: ``{"type": …, "data": …}``."""
        return [parsed(line) for line in self.frames if self.is_told_in(line)]

    @cached_property
    def end(self) -> Mapping[str, Any] | None:
        """The last message that tells how it ended; an ``execution_error`` before it ended nothing."""
        return next((item for item in reversed(self.messages) if item["type"] in END_KINDS), None)

    @cached_property
    def entry(self) -> Mapping[str, Any] | None:
        """Its entry in the newest recorded answer of ``GET /history`` that has it."""
        found = [entry for _, entry in self.history_answers if entry is not None]
        return found[-1] if found else None

    @cached_property
    def history_answers(self) -> Sequence[tuple[int, Mapping[str, Any] | None]]:
        """Running number and entry, or None, of every later answer that would have had it if it had ended."""
        whole = self.recording.answers_to_get("/history")
        answers = [*whole, *self.recording.answers_to_get(f"/history/{self.prompt_id}")]
        return sorted(
            ((answer["n"], answer["body"]["json"].get(self.prompt_id)) for answer in answers if self._tells(answer)),
            key=lambda item: item[0],
        )

    def _tells(self, answer: Line) -> bool:
        """Whether a history answer came after the submission, is complete, and was not cut down by a query."""
        known = answer["n"] > self.since and isinstance((answer["body"] or {}).get("json"), dict)
        query = urlsplit(self.recording.requests[answer["id"]]["path"]).query
        return known and (not query or self.prompt_id in answer["body"]["json"])

    @cached_property
    def queue_answers(self) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Running number and content of every answer of ``GET /queue`` after its submission was answered."""
        first = self.answer["n"] if self.answer else self.since
        answers = self.recording.answers_to_get("/queue")
        return [(answer["n"], answer["body"]["json"]) for answer in answers if answer["n"] > first]

    @cached_property
    def told_entry(self) -> Mapping[str, Any] | None:
        """The history entry that follows from its messages, which is the recorded one in all that counts."""
        if self.end is None:
            return None
        done = [item["data"] for item in self.messages if item["type"] == "executed"]
        kept = [item for item in self.messages if item["type"] in HISTORY_KINDS[:2]] + [self.end]
        success = self.end["type"] == "execution_success"
        return {
            "prompt": [0, self.prompt_id, self.workflow.nodes, {"client_id": self.client_id}, []],
            "outputs": {data["node"]: data["output"] for data in done},
            "status": {
                "status_str": "success" if success else "error",
                "completed": success,
                "messages": [[item["type"], item["data"]] for item in kept],
            },
            "meta": {data["node"]: {"node_id": data["node"], "display_node": data["display_node"]} for data in done},
        }


def show(line: str) -> None:
    """Say something about a test run, to be seen with ``pytest -s``."""
    sys.stdout.write(f"{line}\n")


def path_of(request: Line) -> str:
    return unquote(urlsplit(request["path"]).path)


def raw_message(line: Line) -> str | bytes | None:
    """The frame as it was on the wire, or as near as the recording allows; None for a line that is no frame."""
    if line["type"] == "ws.text":
        if "raw" in line:
            return str(line["raw"])
        return json.dumps(line["json"]) if "json" in line else restored(line["head"], line["tail"], line["length"])
    if line["type"] != "ws.binary":
        return None
    if "base64" in line:
        return base64.b64decode(line["base64"])
    # Large frames were recorded without their image: a beginning of one takes its place.
    if line["event"] == 4:
        return with_metadata(line["metadata"], b"\xff\xd8")
    return bytes.fromhex(line["head_hex"])


def restored(head: str, tail: str, length: int) -> str:
    """A long text of which the recording kept the two ends; it is a repetition of one character."""
    missing = length - len(head) - len(tail)
    text = head + head[-1] * missing + tail
    try:
        json.loads(text)
    except ValueError:
        return head + head[-1] * (missing - len(_LEFT_OUT)) + _LEFT_OUT + tail
    return text


def with_metadata(metadata: Mapping[str, Any], image: bytes) -> bytes:
    """A binary frame of event 4."""
    header = json.dumps(metadata).encode()
    return struct.pack(">II", 4, len(header)) + header + image


def parsed(line: Line) -> Mapping[str, Any]:
    """The message in a text frame, ``{}`` for other lines."""
    if line["type"] != "ws.text":
        return {}
    message = line["json"] if "json" in line else json.loads(str(raw_message(line)))
    return message if isinstance(message, dict) else {}


def prompt_id_of(line: Line) -> str | None:
    """Which prompt a text frame is about."""
    data = parsed(line).get("data")
    return data.get("prompt_id") if isinstance(data, dict) else None


def expected_code(entry: Mapping[str, Any]) -> str:
    """What a history entry says about the end: "success", or the code of the error."""
    if entry["status"]["status_str"] == "success":
        return "success"
    kind, data = entry["status"]["messages"][-1]
    if kind == "execution_interrupted":
        return "prompt_interrupted"
    names_it = data["exception_type"] == "torch.OutOfMemoryError"
    return "out_of_memory" if names_it or "CUDA error: out of memory" in data["exception_message"] else "prompt_failed"


def expected_files(entry: Mapping[str, Any], workflow: Workflow) -> list[tuple[str, str, str, str]]:
    """Display node, name, subfolder and folder of each file of a history entry, nodes in the workflow's order."""
    found: dict[str, list[tuple[str, str, str, str]]] = {node_id: [] for node_id in workflow.nodes}
    for node_id, shown in entry["outputs"].items():
        visible = entry["meta"].get(node_id, {}).get("display_node") or node_id
        files = [item for items in shown.values() for item in items if isinstance(item, dict) and "filename" in item]
        found.setdefault(visible, []).extend(
            (visible, file["filename"], file["subfolder"], file["type"]) for file in files
        )
    return [file for files in found.values() for file in files]


@dataclass(frozen=True)
class Play:
    """What ComfyUI did with a recorded prompt: the messages in order, and what it answered besides.

    Attributes:
        started: index of ``execution_start``; before it the prompt waits.
        ended: index of the message before which the history is written.
    """

    name: str
    prompt_id: str
    workflow: Workflow
    messages: Sequence[str | bytes]
    kinds: Sequence[tuple[str, str | None]]
    started: int
    ended: int
    entry: Mapping[str, Any]
    node_errors: Mapping[str, Any]

    @classmethod
    def of(cls, prompt: RecordedPrompt) -> Play | None:
        """The play of a prompt; None unless its client got every message of it, on one websocket, and once."""
        entry, lines = prompt.entry or prompt.told_entry, _own_lines(prompt)
        kinds = [(str(parsed(line).get("type", "binary")), _display_node(line)) for line in lines]
        starts = [index for index, (kind, _) in enumerate(kinds) if kind == "execution_start"]
        ends = [index for index, kind in enumerate(kinds) if kind == ("executing", None)]
        if not isinstance(prompt.client_id, str) or not entry or (len(starts), len(ends)) != (1, 1):
            return None
        last = max(index for index, (kind, _) in enumerate(kinds) if kind in END_KINDS)
        return cls(
            name=prompt.name,
            prompt_id=prompt.prompt_id,
            workflow=prompt.workflow,
            messages=[raw_message(line) or "" for line in lines],
            kinds=kinds,
            started=starts[0],
            ended=last + 1,
            entry=entry,
            node_errors=prompt.answer["body"]["json"]["node_errors"] if prompt.answer else {},
        )

    @property
    def code(self) -> str:
        """How it must end: "success", or the code of the error."""
        return "prompt_rejected" if self.node_errors else expected_code(self.entry)

    @property
    def failed_node(self) -> str | None:
        """The node in which it failed or was interrupted."""
        data: Mapping[str, str] = self.entry["status"]["messages"][-1][1]
        return data.get("node_id")

    @property
    def files(self) -> Sequence[tuple[str, str, str, str]]:
        """What it must leave: display node, name, subfolder and folder of each file."""
        return expected_files(self.entry, self.workflow)

    @property
    def nodes(self) -> set[str]:
        """The nodes that may be told as running."""
        return {node for kind, node in self.kinds if kind in {"executing", "progress"} and node is not None}

    def running_node(self, position: int) -> str | None:
        """The node that runs when ``position`` messages have passed."""
        running = [node for kind, node in self.kinds[:position] if kind == "executing"]
        return running[-1] if running and position < self.ended else None


def _own_lines(prompt: RecordedPrompt) -> list[dict[str, Any]]:
    """The frames from when it was queued to its last message, less those that tell of others' prompts."""
    told = [index for index, line in enumerate(prompt.frames) if prompt.is_told_in(line)]
    if not told or len({prompt.frames[index]["conn"] for index in told}) > 1:
        return []
    own: list[dict[str, Any]] = []
    for index, line in enumerate(prompt.frames[: told[-1] + 1]):
        pictures = line["type"] == "ws.binary" and index > told[0]
        if pictures or prompt.is_told_in(line) or parsed(line).get("type") == "status":
            own.append(line)
    # Two of ``status`` tell that it was queued and taken; the ones before them told others' comings and goings.
    before = [line for line in own if line["n"] < prompt.frames[told[0]]["n"]]
    return own[max(0, len(before) - 2) :]


def _display_node(line: Mapping[str, Any]) -> str | None:
    data = parsed(dict(line)).get("data") or {}
    return data.get("display_node") or data.get("node")

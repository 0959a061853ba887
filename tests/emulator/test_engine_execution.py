"""What runs, in which order, what is told about it and what is kept for the next prompt."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfypod.emulator.engine.catalog import FileCatalog
from comfypod.emulator.engine.execution import Executor
from comfypod.emulator.engine.files import Folders
from comfypod.emulator.engine.graph import ExecutionOrder, cache_keys
from comfypod.emulator.engine.queue import QueuedPrompt
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass, NodeContext, NodeResult

ODD = object()


class Bench:
    """An executor with nodes that note when they run, and a publisher that notes what is sent to whom."""

    def __init__(self, base: Path) -> None:
        self.ran: list[str] = []
        self.sent: list[tuple[str, Any, object]] = []
        self.metadata_wanted = False
        self.stamp = "v1"
        self.during: Callable[[], None] = lambda: None
        self._ids = itertools.count()
        folders = Folders.below(base)
        self.classes = self._classes()
        self.executor = Executor(self.classes, FileCatalog(folders, None), folders, self)

    def publish(self, event: str, data: Mapping[str, Any], client_id: object) -> None:
        self.sent.append((event, json.loads(json.dumps(data, default=str)), client_id))

    def publish_binary(self, frame: bytes, client_id: object) -> None:
        self.sent.append((f"binary {int.from_bytes(frame[:4], 'big')}", frame, client_id))

    def takes_preview_metadata(self, client_id: object) -> bool:
        return self.metadata_wanted

    def run(self, workflow: dict[str, Any], *outputs: str, **extra_data: Any) -> dict[str, Any]:
        self.ran.clear()
        self.sent.clear()
        return self.executor.run(QueuedPrompt(0, f"p{next(self._ids)}", workflow, extra_data, outputs))

    def told(self, client_id: object = "me") -> list[str]:
        """The messages in short: events, with the node that they are about."""
        return [
            f"{event} {data['node']}" if isinstance(data, dict) and "node" in data else event
            for event, data, to in self.sent
            if to == client_id
        ]

    def data(self, event: str) -> dict[str, Any]:
        (data,) = [data for name, data, _ in self.sent if name == event]
        assert isinstance(data, dict)
        return data

    def _classes(self) -> dict[str, NodeClass]:
        def noted(function: Callable[..., NodeResult]) -> Callable[..., NodeResult]:
            def run(context: NodeContext, **inputs: Any) -> NodeResult:
                self.ran.append(context.node_id)  # type: ignore[attr-defined]
                return function(context, **inputs)

            return run

        value = {"value": Input("*")}

        def fail(_: NodeContext, value: Any) -> NodeResult:
            raise ValueError(f"cannot take {value}")

        def step(context: NodeContext, value: int) -> NodeResult:
            for number in range(1, value + 1):
                context.report_progress(number, value, Image.new("RGB", (16, 8)))
                self.during()
            return NodeResult((value,))

        def fingerprint(_: Catalog, value: Any) -> str:
            if self.stamp == "broken":
                raise OSError("unreadable")
            return self.stamp

        made = (
            NodeClass("Value", noted(lambda _, value: NodeResult((value,))), required=value, outputs=("*",)),
            NodeClass(
                "Show",
                noted(lambda _, value: NodeResult(ui={"text": (str(value),)})),
                required=value,
                output_node=True,
            ),
            NodeClass("Odd", noted(lambda _, value: NodeResult(ui={"odd": [ODD]})), required=value, output_node=True),
            NodeClass("Fail", noted(fail), required=value, outputs=("*",)),
            NodeClass("Step", noted(step), required=value, outputs=("*",)),
            NodeClass("File", noted(step), required=value, outputs=("*",), fingerprint=fingerprint),
        )
        return {node_class.name: node_class for node_class in made}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def node(class_type: str, value: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": {"value": value}}


LINE = {"1": node("Value", 5), "2": node("Show", ["1", 0])}


def test_a_run_is_told_in_comfyuis_order_and_ends_in_the_history(bench: Bench) -> None:
    entry = bench.run(LINE, "2", client_id="me")
    assert bench.told() == [
        "execution_start",
        "execution_cached",
        "progress_state",
        "executing 1",
        "progress_state",
        "progress_state",
        "executing 2",
        "executed 2",
        "progress_state",
        "execution_success",
    ]
    assert entry["outputs"] == {"2": {"text": ["5"]}}
    assert entry["status"]["status_str"] == "success"
    assert [event for event, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]


def test_an_unchanged_prompt_runs_nothing_and_shows_the_old_output(bench: Bench) -> None:
    bench.run(LINE, "2", client_id="me")
    entry = bench.run(LINE, "2", client_id="me")
    assert bench.ran == []
    assert bench.data("execution_cached")["nodes"] == ["1", "2"]
    assert bench.told() == ["execution_start", "execution_cached", "executed 2", "progress_state", "execution_success"]
    assert entry["outputs"] == {"2": {"text": ["5"]}}


def test_a_cached_output_is_lost_without_a_client(bench: Bench) -> None:
    bench.run(LINE, "2", client_id="me")
    assert bench.run(LINE, "2")["outputs"] == {}


def test_the_cache_keeps_only_what_the_last_prompt_used(bench: Bench) -> None:
    other = {"1": node("Value", 6), "2": node("Show", ["1", 0])}
    bench.run(LINE, "2")
    bench.run(other, "2")
    bench.run(LINE, "2")
    assert bench.ran == ["1", "2"]


def test_a_change_runs_what_hangs_on_it_and_no_more(bench: Bench) -> None:
    workflow = {"1": node("Value", 1), "2": node("Value", 2), "a": node("Show", ["1", 0]), "b": node("Show", ["2", 0])}
    bench.run(workflow, "a", "b")
    bench.run({**workflow, "2": node("Value", 3)}, "a", "b")
    assert bench.ran == ["2", "b"]


def test_a_fingerprint_makes_a_node_run_again(bench: Bench) -> None:
    workflow = {"1": node("File", 1), "2": node("Show", ["1", 0])}
    bench.run(workflow, "2")
    bench.run(workflow, "2")
    assert bench.ran == []
    bench.stamp = "v2"
    bench.run(workflow, "2")
    assert bench.ran == ["1", "2"]


def test_a_node_whose_fingerprint_fails_always_runs(bench: Bench) -> None:
    bench.stamp = "broken"
    workflow = {"1": node("File", 1), "2": node("Show", ["1", 0])}
    for _ in range(2):
        bench.run(workflow, "2")
        assert bench.ran == ["1", "2"]


def test_a_dropped_cache_makes_everything_run(bench: Bench) -> None:
    bench.run(LINE, "2")
    bench.executor.drop_cache()
    bench.run(LINE, "2")
    assert bench.ran == ["1", "2"]
    bench.run(LINE, "2")
    assert bench.ran == []


def test_a_failing_node_ends_the_prompt_with_all_that_is_known(bench: Bench) -> None:
    workflow = {
        "1": node("Value", 5),
        "2": node("Fail", ["1", 0]),
        "3": node("Show", ["2", 0]),
        "4": node("Show", ["1", 0]),
    }
    entry = bench.run(workflow, "3", "4", client_id="me")
    error = bench.data("execution_error")
    assert error["node_id"] == "2"
    assert error["node_type"] == "Fail"
    assert error["exception_type"] == "ValueError"
    assert error["exception_message"] == "cannot take 5\n"
    assert error["current_inputs"] == {"value": [5]}
    assert error["executed"] == ["1", "4"]
    assert any("raise ValueError" in line for line in error["traceback"])
    assert bench.told()[-1] == "execution_error"
    assert entry["status"]["completed"] is False
    assert entry["outputs"] == {"4": {"text": ["5"]}}, "what was done before stays"


def test_what_ran_before_a_failure_is_not_run_again(bench: Bench) -> None:
    workflow = {"1": node("Value", 5), "2": node("Fail", ["1", 0]), "3": node("Show", ["2", 0])}
    bench.run(workflow, "3")
    bench.run(workflow, "3")
    assert bench.ran == ["2"]


def test_an_output_that_is_not_json_is_no_failure_of_the_node(bench: Bench) -> None:
    """As in ComfyUI, which finds out when it sends the output, and ends: see test_engine_server."""
    entry = bench.run({"1": node("Odd", 1)}, "1", client_id="me")
    assert entry["status"]["status_str"] == "success"
    assert entry["outputs"] == {"1": {"odd": [ODD]}}
    assert "executed 1" in bench.told()


def test_an_interrupt_lands_at_the_next_step(bench: Bench) -> None:
    bench.during = bench.executor.interrupt
    entry = bench.run({"1": node("Step", 9), "2": node("Show", ["1", 0])}, "2", client_id="me")
    assert bench.told().count("progress 1") == 1
    assert bench.told()[-1] == "execution_interrupted"
    assert bench.data("execution_interrupted")["node_id"] == "1"
    assert entry["status"]["status_str"] == "error"


def test_an_interrupt_during_a_node_that_never_checks_lands_at_the_next_node(bench: Bench) -> None:
    workflow = {"1": node("Step", 1), "2": node("Value", ["1", 0]), "3": node("Show", ["2", 0])}
    bench.during = bench.executor.interrupt
    bench.run(workflow, "3", client_id="me")
    assert bench.data("execution_interrupted")["node_id"] == "2"
    assert bench.ran == ["1"]


def test_an_interrupt_without_a_client_is_told_to_everybody(bench: Bench) -> None:
    bench.during = bench.executor.interrupt
    bench.run({"1": node("Step", 2), "2": node("Show", ["1", 0])}, "2")
    assert "execution_interrupted" in bench.told(client_id=None)
    assert "execution_start" not in bench.told(client_id=None)


def test_without_a_client_only_progress_is_told(bench: Bench) -> None:
    bench.run({"1": node("Step", 1), "2": node("Show", ["1", 0])}, "2")
    assert set(bench.told(client_id=None)) == {"progress_state", "progress 1"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(False, ["progress_state", "progress 1", "binary 1"]), (True, ["progress_state", "binary 4", "progress 1"])],
)
def test_previews_come_only_when_asked_for_and_in_their_place(
    bench: Bench, metadata: bool, expected: list[str]
) -> None:
    bench.metadata_wanted = metadata
    workflow = {"1": node("Step", 1), "2": node("Show", ["1", 0])}
    bench.run(workflow, "2", client_id="me", preview_method="auto")
    told = bench.told()
    start = told.index("executing 1") + 1
    assert told[start : start + 3] == expected
    bench.executor.drop_cache()
    for method in ("none", "default", "nonsense", None, ["auto"]):
        bench.run(workflow, "2", client_id="me", preview_method=method)
        assert not [event for event in bench.told() if event.startswith("binary")]
        bench.executor.drop_cache()


def test_a_preview_fills_the_preview_size(bench: Bench) -> None:
    bench.run({"1": node("Step", 1), "2": node("Show", ["1", 0])}, "2", preview_method="auto")
    (frame,) = [data for event, data, _ in bench.sent if event == "binary 1"]
    (path := bench.executor.folders.temp).mkdir(parents=True)
    (path / "preview.jpg").write_bytes(frame[8:])
    with Image.open(path / "preview.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (512, 256))


def test_the_running_node_is_known_to_its_client_and_to_nobody_afterwards(bench: Bench) -> None:
    seen: list[str | None] = []
    bench.during = lambda: seen.extend(bench.executor.current_node(client) for client in ("me", "you"))
    bench.run({"1": node("Step", 1), "2": node("Show", ["1", 0])}, "2", client_id="me")
    assert seen == ["1", None]
    assert bench.executor.current_node("me") is None


def test_a_node_that_ends_its_thread_ends_the_worker_as_in_comfyui(bench: Bench) -> None:
    def leave() -> None:
        raise SystemExit

    bench.during = leave
    with pytest.raises(SystemExit):
        bench.run({"1": node("Step", 1), "2": node("Show", ["1", 0])}, "2")
    assert "execution_error" not in [event for event, _, _ in bench.sent]


def test_an_undeclared_link_to_nowhere_is_ignored(bench: Bench) -> None:
    workflow = {"1": {"class_type": "Value", "inputs": {"value": 1, "stray": ["99", 0]}}, "2": node("Show", ["1", 0])}
    assert bench.run(workflow, "2")["outputs"] == {"2": {"text": ["1"]}}


def test_the_order_prefers_outputs_and_what_leads_to_them(bench: Bench) -> None:
    workflow = {
        "loader": node("Value", 0),
        "latent": node("Value", 0),
        "positive": node("Value", ["loader", 0]),
        "negative": node("Value", ["loader", 0]),
        "preview": node("Show", ["latent", 0]),
        "sampler": {"class_type": "Many", "inputs": {"a": ["positive", 0], "b": ["negative", 0], "c": ["latent", 0]}},
        "save": node("Show", ["sampler", 0]),
    }
    many = NodeClass("Many", lambda _, **__: NodeResult(), required={name: Input("*") for name in "abc"})
    order = ExecutionOrder(workflow, {**bench.classes, "Many": many}, lambda _: False)
    order.add("save")
    order.add("preview")
    ran = []
    while (picked := order.pick()) is not None:
        ran.append(picked)
        order.complete(picked)
    # "latent" is ready first and leads to an output; then the shown output; then whatever is ready.
    assert ran == ["latent", "preview", "loader", "negative", "positive", "sampler", "save"]


def test_keys_follow_the_inputs_and_skip_what_cannot_run() -> None:
    def keys(workflow: dict[str, Any]) -> dict[str, str]:
        return cache_keys(workflow, lambda _: None)

    first, second = keys(LINE), keys({"9": node("Value", 5), "2": node("Show", ["9", 0])})
    assert first["1"] == second["9"], "the id of a node is not part of its key"
    assert first["2"] == second["2"]
    assert keys({"1": node("Value", 5.0)})["1"] != first["1"]
    broken = {"a": node("Value", ["a", 0]), "b": node("Value", ["none", 0]), "c": {"class_type": "Value"}, "d": 5}
    assert keys(broken) == {}

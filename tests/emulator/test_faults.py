"""The SPEC of a fault, its counts, and its page."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.emulator.fault_kinds import KINDS
from comfypod.emulator.faults import Fault, FaultPlan

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"


def plan(*specs: str, own_process: bool = False) -> FaultPlan:
    return FaultPlan(map(Fault.parse, specs), own_process=own_process)


@pytest.mark.parametrize(
    "spec",
    [
        "exit:node=ImageInvert,code=139",
        "exit:signal=9,times=0,after=2",
        "hang",
        "hang:seconds=0.5,node=7,step=3",
        "respond:path=/queue,status=503",
        "raise:type=torch.OutOfMemoryError,message=a\\, b = c\\\\",
        "cut:message=any",
        "reorder:message=progress",
    ],
)
def test_a_fault_gives_its_spec_back(spec: str) -> None:
    assert str(Fault.parse(f" {spec}\n")) == spec


def test_what_is_not_given_has_the_default_of_its_kind() -> None:
    assert Fault.parse("hang").seconds == 3600.0
    assert Fault.parse("exit").code == 139
    assert Fault.parse("crash_at_boot").code == 1
    assert Fault.parse("out_of_memory").form == "torch"
    fault = Fault.parse("refuse")
    assert (fault.path, fault.times, fault.after) == ("/", 1, 0)


def test_a_comma_and_a_backslash_can_be_part_of_a_value() -> None:
    fault = Fault.parse(r"raise:message=one\, two\\,node=3")
    assert (fault.message, fault.node) == ("one, two\\", "3")
    assert Fault.parse("raise:message=x=y").message == "x=y"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "There is no fault ''"),
        ("exti", "Did you mean exit"),
        ("thread-death", "Did you mean thread_death"),
        ("zzz", "slow_boot"),
        ("exit:nod=1", "no key 'nod'. Did you mean node"),
        ("evict_history:seconds=1", "Valid: after, times."),
        ("slow_boot:seconds=1,after=1", "no key 'after'"),
        ("exit:", "'' is not key=value"),
        ("exit:node=a,139", "'139' is not key=value"),
        ("exit:node=a,node=b", "node is given twice"),
        ("exit:node=", "node must not be empty"),
        ("exit:code=256", "code must be a whole number from 0 to 255, not '256'"),
        ("exit:code=-1", "not '-1'"),
        ("exit:code=" + "9" * 5000, "whole number"),
        ("exit:signal=15", "9 (SIGKILL)"),
        ("exit:signal=9,code=1", "code or signal, not both"),
        ("slow", "Fault slow needs seconds=."),
        ("delay", "Fault delay needs message= and seconds=."),
        ("slow:seconds=soon", "seconds must be a number from 0 to 86400, not 'soon'"),
        ("slow:seconds=nan", "not 'nan'"),
        ("slow:seconds=inf", "not 'inf'"),
        ("slow:seconds=-1", "not '-1'"),
        ("hang:times=x", "times must be a whole number"),
        ("hang:step=0", "step must be a whole number from 1"),
        ("refuse:path=prompt", "as /prompt does"),
        ("respond:status=99", "status must be a whole number from 200 to 599"),
        ("cut:message=executin", "Did you mean executing"),
        ("reorder:message=executing", "message cannot be 'executing'"),
        ("out_of_memory:form=troch", "Did you mean torch"),
        ("raise:type=not a name", "such as torch.OutOfMemoryError"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_valid(spec: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Fault.parse(spec)


def test_a_fault_strikes_as_often_as_planned_after_as_many_occasions_as_planned() -> None:
    faults = plan("raise:node=A,after=2,times=3")
    struck = [bool(faults.at_node("1", "A", None)) for _ in range(7)]
    assert struck == [False, False, True, True, True, False, False]
    assert faults.to_json() == [
        {"fault": "raise:node=A,after=2,times=3", "occasions": 7, "struck": 3, "spent": True},
    ]


def test_a_fault_without_limit_strikes_always() -> None:
    faults = plan("refuse:times=0")
    assert all(faults.at_request("GET", "/") for _ in range(5))
    assert faults.to_json()[0]["spent"] is False


def test_only_what_is_concerned_is_an_occasion() -> None:
    faults = plan("hang:node=KSampler,step=3", "slow:node=7,seconds=1", "refuse:path=/prompt", "drop:message=progress")
    assert faults.at_node("7", "KSampler", 3) != []
    assert [fault.kind for fault in faults.at_node("7", "KSampler", None)] == ["slow"]
    assert faults.at_node("8", "Other", 3) == []
    assert faults.at_request("GET", "/queue") == []
    assert faults.at_request("POST", "/api/prompt") != []
    assert faults.at_message("progress_state") == []
    assert faults.at_message("progress") != []
    assert [entry["occasions"] for entry in faults.to_json()] == [1, 1, 1, 1]


def test_occasions_are_counted_once_each_from_many_threads() -> None:
    faults = plan("drop:message=any,times=100")
    struck: list[int] = []

    def meet() -> None:
        struck.append(sum(len(faults.at_message("status")) for _ in range(500)))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(struck) == 100
    assert faults.to_json()[0]["occasions"] == 4000


@pytest.mark.parametrize("spec", ["exit:code=1", "crash_at_boot"])
def test_what_ends_the_process_is_only_for_an_engine_that_has_one(spec: str) -> None:
    with pytest.raises(ValueError, match="process of its own"):
        plan(spec)
    assert list(map(str, plan(spec, own_process=True))) == [spec]


def test_planning_is_all_or_nothing() -> None:
    faults = plan()
    with pytest.raises(ValueError, match="exit"):
        faults.add([Fault.parse("refuse"), Fault.parse("exit")])
    assert list(faults) == []


def test_what_strikes_at_boot_is_planned_before() -> None:
    faults = plan("slow_boot:seconds=1")
    assert [fault.kind for fault in faults.at_boot()] == ["slow_boot"]
    with pytest.raises(ValueError, match="boot, which is over"):
        faults.add([Fault.parse("slow_boot:seconds=1")])


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("comfypod.emulator.faults")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_every_strike_is_one_line_in_the_log(warnings: list[str]) -> None:
    faults = plan("raise:message=two\nlines,node=A", "slow:seconds=0")
    faults.at_node("3", "A", None)
    faults.at_node("3", "A", None)
    assert warnings == [
        "fault raise:message=two\\nlines,node=A strikes node 3 (A)",
        "fault slow:seconds=0 strikes node 3 (A)",
    ]


def rows() -> dict[str, str]:
    """The rows of the page's tables by the name of the kind."""
    found = re.findall(r"^\| `([a-z_]+)` \|(.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {str(name): str(row) for name, row in found if name in KINDS}


def test_every_kind_is_documented_with_its_keys_and_no_others() -> None:
    documented = rows()
    assert documented.keys() == KINDS.keys()
    for name, row in documented.items():
        keys = set(re.findall(r"`([a-z]+)=", row.split("|")[0]))
        assert keys == KINDS[name].keys.keys() - {"times", "after"}, name


def test_the_examples_of_the_page_can_be_planned() -> None:
    examples = re.findall(r"--fault '?([^' \n`]+)", PAGE.read_text(encoding="utf-8"))
    assert len(examples) >= 3
    assert list(map(str, plan(*examples, own_process=True))) == examples

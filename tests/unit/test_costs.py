"""What nodes cost on earlier runs: told apart by the workflow's shape, followed as it changes, bounded in memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from comfypod.schema.workflow import Workflow
from comfypod.worker.costs import MOST_WORKFLOWS, SMALLEST_SECONDS, LearnedCosts, NodeCost


def workflow(**sampler_inputs: Any) -> Workflow:
    return Workflow.parse(
        {
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
            "3": {"class_type": "KSampler", "inputs": {"steps": 20, "seed": 1, "model": ["4", 0], **sampler_inputs}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
        }
    )


def chain(number: int, length: int = 4) -> Workflow:
    """A workflow like no other; its ids are long, as only a stranger's are."""
    prefix = f"{number}-" + "x" * 1000
    return Workflow(
        {
            f"{prefix}-{place}": {"class_type": "ImageInvert", "inputs": {"image": [f"{prefix}-{place - 1}", 0]}}
            for place in range(length)
        }
    )


def seconds(costs: LearnedCosts, of: Workflow) -> dict[str, float]:
    return {node_id: round(cost.seconds, 3) for node_id, cost in costs.estimate(of).nodes.items()}


FULL_RUN = {"4": NodeCost(5.0), "3": NodeCost(10.0), "9": NodeCost(1.0)}


def test_before_the_first_run_a_node_weighs_one_and_its_steps() -> None:
    estimate = LearnedCosts().estimate(workflow())
    assert {node_id: cost.seconds for node_id, cost in estimate.nodes.items()} == {"4": 1.0, "3": 21.0, "9": 1.0}
    assert estimate.learned == frozenset()


def test_the_next_run_of_a_workflow_costs_what_the_last_one_did() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), FULL_RUN)
    assert seconds(costs, workflow(seed=2, sampler_name="euler", latent=None)) == {"4": 5.0, "3": 10.0, "9": 1.0}
    assert costs.estimate(workflow()).learned == {"3", "4", "9"}


def test_a_node_with_steps_costs_as_much_more_as_it_has_more_of_them() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(steps=20), FULL_RUN)
    assert seconds(costs, workflow(steps=60)) == {"4": 5.0, "3": 30.0, "9": 1.0}


def test_the_order_in_the_document_does_not_matter() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), FULL_RUN)
    turned = Workflow({node_id: workflow().nodes[node_id] for node_id in ("9", "3", "4")})
    assert seconds(costs, turned) == {"9": 1.0, "3": 10.0, "4": 5.0}


@pytest.mark.parametrize(
    "other",
    [
        workflow(model=["4", 1]),
        workflow(positive=["4", 1]),
        Workflow({**workflow().nodes, "9": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}}),
        Workflow({**workflow().nodes, "10": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}}),
        Workflow({"5" if node_id == "4" else node_id: node for node_id, node in workflow().nodes.items()}),
    ],
    ids=["another output of a link", "another link", "another class", "another node", "another id"],
)
def test_a_workflow_of_another_shape_knows_nothing_of_it(other: Workflow) -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), FULL_RUN)
    assert costs.estimate(other).learned == frozenset()


def test_costs_follow_changes_without_jumping() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), FULL_RUN)
    seen = []
    for _ in range(6):
        costs.learn(workflow(), {"3": NodeCost(20.0)})
        seen.append(seconds(costs, workflow())["3"])
    assert 10.0 < seen[0] < 20.0
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(20.0, rel=0.02)


def test_what_is_known_of_cached_nodes_is_kept() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), FULL_RUN)
    costs.learn(workflow(), {})
    costs.learn(workflow(), {"3": NodeCost(10.0)})
    assert seconds(costs, workflow()) == {"4": 5.0, "3": 10.0, "9": 1.0}


def test_a_node_that_never_ran_is_guessed_to_fit_those_that_did() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), {"3": NodeCost(10.5)})  # 21 by default: half a second for every 1
    assert seconds(costs, workflow()) == {"4": 0.5, "3": 10.5, "9": 0.5}
    assert costs.estimate(workflow()).learned == {"3"}


def test_rounds_and_the_time_after_the_last_step_are_learned() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), {"3": NodeCost(10.0, rounds=3.0, tail_seconds=2.0)})
    assert costs.estimate(workflow()).nodes["3"] == NodeCost(10.0, rounds=3.0, tail_seconds=2.0)
    costs.learn(workflow(), {"3": NodeCost(10.0, rounds=4.0, tail_seconds=3.0)})
    assert costs.estimate(workflow()).nodes["3"] == NodeCost(10.0, rounds=4.0, tail_seconds=2.5)


def test_a_node_that_took_no_time_still_weighs_something() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), dict.fromkeys(["3", "4", "9"], NodeCost(0.0)))
    nodes = costs.estimate(workflow()).nodes
    assert [cost.seconds for cost in nodes.values()] == pytest.approx([SMALLEST_SECONDS] * 3)


@pytest.mark.parametrize("steps", [10**400, -5, 0, True, 7.5, float("nan"), "20", None, ["4", 0], {}])
def test_steps_that_make_no_sense_break_nothing(steps: Any) -> None:
    costs = LearnedCosts()
    strange = workflow(steps=steps)
    assert 1.0 <= costs.estimate(strange).nodes["3"].seconds <= 10_001.0
    costs.learn(strange, FULL_RUN)
    assert seconds(costs, strange) == {"4": 5.0, "3": 10.0, "9": 1.0}


def test_nodes_that_are_not_in_the_workflow_are_not_learned() -> None:
    costs = LearnedCosts()
    costs.learn(workflow(), {"3.0.0.1": NodeCost(7.0)})
    assert len(costs) == 0
    assert "3.0.0.1" not in costs.estimate(workflow()).nodes


def test_the_workflow_unused_for_longest_is_forgotten_first() -> None:
    costs = LearnedCosts(most_workflows=2)
    first, second, third = (chain(number, length=1) for number in range(3))
    for each in (first, second):
        costs.learn(each, dict.fromkeys(each.nodes, NodeCost(1.0)))
    costs.estimate(first)  # used since
    costs.learn(third, dict.fromkeys(third.nodes, NodeCost(1.0)))
    assert [bool(costs.estimate(each).learned) for each in (first, second, third)] == [True, False, True]


def test_of_a_large_workflow_the_dearest_nodes_are_kept() -> None:
    costs = LearnedCosts(most_nodes=2)
    costs.learn(workflow(), {"4": NodeCost(50.0), "3": NodeCost(80.0), "9": NodeCost(4.5)})
    assert costs.estimate(workflow()).learned == {"3", "4"}  # though a step of the sampler is cheaper than all
    # What was forgotten was cheap: it is no third, of average cost.
    assert costs.estimate(workflow()).nodes["9"].seconds <= 5.0


def test_ten_thousand_workflows_take_no_more_memory_than_the_first_hundred() -> None:
    costs = LearnedCosts()

    def run(numbers: range) -> None:
        for number in numbers:
            one = chain(number)
            costs.estimate(one)
            costs.learn(one, dict.fromkeys(one.nodes, NodeCost(1.0)))

    tracemalloc.start()
    try:
        run(range(100))
        before_bytes, _ = tracemalloc.get_traced_memory()
        run(range(100, 10_000))
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(costs) == MOST_WORKFLOWS
    # Their ids alone are 40 MB.
    assert after_bytes - before_bytes < 200_000  # what else runs in this process counts too
    assert after_bytes < 500_000

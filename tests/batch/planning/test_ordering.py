"""One pod's order: the simulator by hand-made cases, and what every order that is chosen keeps to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfypod.batch.documents import Objective
from comfypod.batch.planning.ordering import policies
from comfypod.batch.planning.ordering.line import Line
from comfypod.batch.planning.ordering.queue import Order, Outcome, Queue, Task, simulate
from comfypod.batch.planning.ordering.search import FIRST_ITEM_SLACK, best_order
from tests.batch.planning.making import queues

_SETTINGS = settings(max_examples=60)
_OBJECTIVES = st.sampled_from(["cost", "early", "balanced"])


def test_downloads_and_work_overlap() -> None:
    queue = Queue((Task((0,), (), 10, 2.0), Task((1,), (), 5, 4.0)), (30.0, 10.0), load_seconds=8.0)
    outcome = simulate(queue, Order((0, 1), (0, 1)))
    # 30 s until the first files; 8 of loading; 20 of work, while the second files come at 40; 8 of loading; 20 of work
    assert outcome == Outcome(38.0, 40.0, 30.0, 86.0, pytest.approx((10 * 49 + 5 * 78) / 15))


def test_a_task_that_goes_before_takes_its_turn_at_the_end_of_an_item() -> None:
    queue = Queue((Task((0,), (), 10, 10.0), Task((1,), (), 1, 1.0)), (5.0, 20.0), load_seconds=2.0)
    outcome = simulate(queue, Order((0, 1), (1, 0)))
    # from 7 on items of 10 s; at 25 the other is ready; at 27 it is loaded, made at 30, and the first loaded again
    assert outcome.makespan == 5 + 2 + 20 + 2 + 1 + 2 + 80
    assert outcome.idle == 5.0
    assert outcome.first_item == 17.0


def test_patches_cost_when_they_change_and_equal_ones_do_not() -> None:
    def seconds(*patches: tuple[int, ...]) -> float:
        tasks = tuple(Task((0,), each, 1, 1.0) for each in patches)
        queue = Queue(tasks, (0.0, 0.0, 0.0), load_seconds=8.0, patch_seconds=0.7)
        return simulate(queue, Order((0, 1, 2), tuple(range(len(tasks))))).makespan

    assert seconds((), ()) == pytest.approx(10.0)
    assert seconds((1,), (1,)) == pytest.approx(10.7)
    assert seconds((1,), (2,), ()) == pytest.approx(8 + 3 + 3 * 0.7)


@given(queue=queues(), objective=_OBJECTIVES)
@_SETTINGS
def test_a_chosen_order_has_every_file_and_task_once_and_its_first_item_early(
    queue: Queue, objective: Objective
) -> None:
    found = best_order(queue, objective)
    assert sorted(found.order.downloads) == list(range(len(queue.asset_seconds)))
    assert sorted(found.order.tasks) == list(range(len(queue.tasks)))
    assert simulate(queue, found.order) == found.outcome
    assert best_order(queue, objective) == found
    if objective != "cost":
        assert found.outcome.first_item <= FIRST_ITEM_SLACK * queue.smallest_first_item + 1e-6


@given(queue=queues(), data=st.data())
@_SETTINGS
def test_the_gpu_never_waits_while_an_item_is_ready(queue: Queue, data: st.DataObject) -> None:
    """Whatever the order of tasks: it waits no longer than a machine that takes whatever is there."""
    downloads = data.draw(st.permutations(range(len(queue.asset_seconds))))
    tasks = data.draw(st.permutations(range(len(queue.tasks))))
    outcome = simulate(queue, Order(tuple(downloads), tuple(tasks)))
    ready = queue.ready_moments(downloads)
    busy = sum(task.seconds for task in queue.tasks)
    changes = outcome.makespan - outcome.idle - busy
    assert changes >= queue.load_seconds * len({task.bases for task in queue.tasks}) - 1e-6
    # Nothing could be done in the time that was waited: work that is ready until then would not fill it without pauses.
    free_of_changes = Queue(queue.tasks, queue.asset_seconds)
    plain = simulate(free_of_changes, Order(tuple(downloads), tuple(tasks)))
    assert plain.idle == pytest.approx(_least_idle(ready, [task.seconds for task in queue.tasks]))


def _least_idle(ready: list[float], works: list[float]) -> float:
    """Of one machine that takes whatever is there."""
    now = idle = 0.0
    for moment, work in sorted(zip(ready, works, strict=True)):
        if moment > now:
            idle += moment - now
            now = moment
        now += work
    return idle


@given(queue=queues(most_files=4, most_tasks=4))
@settings(_SETTINGS, max_examples=12)
def test_no_order_of_all_is_much_better_than_the_chosen_one(queue: Queue) -> None:
    outcomes = [
        simulate(queue, Order(downloads, tasks))
        for downloads in itertools.permutations(range(len(queue.asset_seconds)))
        for tasks in itertools.permutations(range(len(queue.tasks)))
    ]
    makespan = min(outcome.makespan for outcome in outcomes)
    mean = min(outcome.mean_completion for outcome in outcomes)
    assert min(outcome.first_work for outcome in outcomes) == pytest.approx(
        queue.smallest_first_item - queue.tasks[queue.quickest].item_seconds
    )
    assert best_order(queue, "cost").outcome.makespan <= 1.01 * makespan
    early = best_order(queue, "early").outcome
    assert early.mean_completion <= 1.10 * mean, "the first item's being early may cost some of the mean"


@pytest.mark.parametrize("objective", ["cost", "early", "balanced"])
def test_a_download_bound_pod_is_shorter_than_in_the_article_s_order(
    objective: Literal["cost", "early", "balanced"],
) -> None:
    """Two models, of which the larger one has the work: what is small first leaves the GPU idle behind it."""
    tasks = (Task((0,), (), 4, 10.0), Task((1,), (), 60, 10.0), Task((2,), (), 2, 5.0))
    queue = Queue(tasks, (80.0, 300.0, 40.0), load_seconds=8.0)
    article = simulate(queue, policies.order_by(queue, policies.by_closure))
    ours = best_order(queue, objective).outcome
    value = {"cost": "makespan", "early": "mean_completion", "balanced": "makespan"}[objective]
    assert getattr(ours, value) <= getattr(article, value)


@given(queue=queues(most_patches=1), objective=_OBJECTIVES)
@_SETTINGS
def test_columns_of_numbers_say_the_same_as_the_simulator(queue: Queue, objective: Objective) -> None:
    line = _line(queue).sorted_for(objective)
    tasks = tuple(line.numbers.tolist())
    simulated = simulate(queue, Order(tuple(line.downloads.tolist()), tasks))
    ready = queue.ready_moments(line.downloads.tolist())
    in_turn = all(ready[one] <= ready[other] for one, other in itertools.pairwise(tasks))
    if in_turn and not _changes_back(queue, tasks):
        assert tuple(line.outcome) == pytest.approx(tuple(simulated))
    assert line.outcome.first_item == pytest.approx(simulated.first_item)


def _changes_back(queue: Queue, tasks: Sequence[int]) -> bool:
    """Whether patches are taken away, or stay: in a lot each signature is once, and the one without comes first."""
    pairs = itertools.pairwise(queue.tasks[number] for number in tasks)
    return any(one.bases == other.bases and one.patches and other.patches in {(), one.patches} for one, other in pairs)


def _line(queue: Queue) -> Line:
    """Tasks by their bases, those without patches first."""
    order = sorted(range(len(queue.tasks)), key=lambda number: (queue.tasks[number].bases, queue.tasks[number].patches))
    tasks = [queue.tasks[number] for number in order]
    blocks = {bases: place for place, bases in enumerate(dict.fromkeys(task.bases for task in tasks))}
    needs = [(place, file) for place, task in enumerate(tasks) for file in task.assets]
    return Line(
        numbers=np.array(order),
        blocks=np.array([blocks[task.bases] for task in tasks]),
        items=np.array([task.items for task in tasks]),
        item_seconds=np.array([task.item_seconds for task in tasks]),
        has_patches=np.array([1.0 if task.patches else 0.0 for task in tasks]),
        owners=np.array([place for place, _ in needs]),
        files=np.array([file for _, file in needs]),
        file_seconds=np.array(queue.asset_seconds),
        load_seconds=queue.load_seconds,
        patch_seconds=queue.patch_seconds,
    )

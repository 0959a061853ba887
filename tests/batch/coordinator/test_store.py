"""What the store guarantees: every item once, whatever comes in between."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.batch.documents import Item, Pulse, Record
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import Batch
from comfypod.errors import BatchInUse, BatchNotFound, InvalidManifest, PodEnded, PodNotFound, StoreOutdated
from tests.batch.coordinator.making import (
    CHECKPOINTS,
    CONDITION,
    Clock,
    begin,
    failure,
    items,
    new_batch,
    one_each,
    plan,
    start_pod,
    success,
)

A, B = CHECKPOINTS


def identifiers(store: BatchStore, batch: Batch, pod: str, count: int, *present: str) -> list[str]:
    return [item.identifier for item in store.lease(batch.number, pod, count, present).items]


def test_a_database_without_the_tables_is_refused_and_made(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('empty') / 'store.sqlite'}"
    with pytest.raises(StoreOutdated, match="comfypod batch run"):
        BatchStore.open(url)
    assert [BatchStore.migrate(url), BatchStore.migrate(url)] == [0, 1]
    BatchStore.open(url).close()


def test_the_same_batch_is_begun_once_and_its_items_are_written_once(both: BatchStore) -> None:
    first = begin(both, one_each(10))
    second = begin(both, one_each(10), budget_dollars=3.0)
    assert first.number == second.number
    assert both.find("batch").budget_dollars == 3.0
    assert both.counts(first.number)["waiting"] == 10
    with pytest.raises(BatchNotFound):
        both.find("other")


def test_filling_goes_on_where_it_was_broken_off(store: BatchStore) -> None:
    planned = one_each(7000)
    batch = store.begin(new_batch(planned))

    def breaking() -> Iterator[Item]:
        yield from itertools.islice(items(7000), 5000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fill(batch.number, breaking())
    assert store.find().started_at is None
    pod = start_pod(store, batch, 0)
    assert store.lease(batch.number, pod, 5, [A]).items == (), "nothing is leased before all of it is there"
    told: list[int] = []
    store.fill(batch.number, items(7000), told.append)
    assert told == [6000, 7000]
    assert store.counts(batch.number)["waiting"] == 7000
    assert [group.waiting for group in store.groups(batch.number)] == [3500, 3500]


def test_a_manifest_with_another_number_of_items_than_planned_is_refused(store: BatchStore) -> None:
    batch = store.begin(new_batch(one_each(10)))
    with pytest.raises(InvalidManifest, match="9 items, and the plan was made for 10"):
        store.fill(batch.number, items(9))


def test_a_pod_gets_its_own_share_first_and_only_what_its_files_are_there_for(both: BatchStore) -> None:
    batch = begin(both, plan(40, [[(B, 4), (A, 20)], [(B, 16)]]))
    pod = start_pod(both, batch, 0)
    ahead = both.lease(batch.number, pod, 20, [])
    assert [item.assets for item in ahead.items] == [(B,)] * 4 + [(A,)], "a few of its own, to begin at once"
    assert {asset.key for asset in ahead.assets} == {A, B}
    assert both.lease(batch.number, pod, 20, []).items == (), "no more of those whose files are not there"
    ready = both.lease(batch.number, pod, 3, [A])
    assert [item.assets for item in ready.items] == [(A,)] * 3
    assert ready.assets == ()
    made: list[Item] = []
    while items_ := both.lease(batch.number, pod, 50, [A, B]).items:
        made += items_
        both.record(batch.number, pod, [success(item.identifier) for item in (*ahead.items, *ready.items, *made)])
    assert [item.assets for item in made] == [(A,)] * 16 + [(B,)] * 16, "then what is of others"
    assert both.counts(batch.number) == {"waiting": 0, "leased": 0, "succeeded": 40, "failed": 0, "cancelled": 0}


def test_no_pod_has_more_in_hand_than_a_fair_part_of_what_is_left(store: BatchStore) -> None:
    both_files = plan(40, [[(A, 20), (B, 20)], [(A, 20), (B, 20)]][:2])
    batch = begin(store, both_files)
    first, second = start_pod(store, batch, 0), start_pod(store, batch, 1)
    in_hand = identifiers(store, batch, first, 200, A, B)
    assert len(in_hand) == 10, "a quarter: there are two pods"
    assert identifiers(store, batch, first, 200, A, B) == []
    assert len(identifiers(store, batch, second, 200, A, B)) == 10
    store.record(batch.number, first, [success(name) for name in in_hand])
    assert len(identifiers(store, batch, first, 200, A, B)) == 8
    assert len(store.lease(batch.number, first, 200, [A, B], made=5).items) == 5, "results that wait hold nothing up"


def test_two_pods_racing_never_get_the_same_item(both: BatchStore) -> None:
    batch = begin(both, plan(60, [[(A, 30), (B, 30)], [(A, 30), (B, 30)]]))
    pods = [start_pod(both, batch, number) for number in (0, 1)]
    got: list[str] = []
    lock = threading.Lock()

    def take(pod: str) -> None:
        while found := identifiers(both, batch, pod, 3, A, B):
            both.record(batch.number, pod, [success(identifier) for identifier in found])
            with lock:
                got.extend(found)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, pods * 2))
    assert len(got) == len(set(got)) == 60
    assert both.counts(batch.number)["succeeded"] == 60
    assert both.find().state == "over"
    assert sum(pod.items for pod in both.pods(batch.number)) == 60


def test_a_lease_that_ran_out_goes_to_another_and_the_first_success_counts(both: BatchStore, clock: Clock) -> None:
    batch = begin(both, plan(2, [[(A, 1), (B, 1)], [(A, 1), (B, 1)]]))
    slow, quick = start_pod(both, batch, 0), start_pod(both, batch, 1)
    held = identifiers(both, batch, slow, 2, A, B)
    clock.now += 121
    assert both.expire(batch.number) == 2
    assert identifiers(both, batch, quick, 2, A, B) == held
    orders = both.pulse(batch.number, slow, Pulse(in_hand=tuple(held), present=(A,)))
    assert orders.revoked == tuple(held)
    assert both.record(batch.number, slow, [success(held[0])]).accepted == (held[0],), "late, and first all the same"
    told = both.record(batch.number, quick, [success(held[0]), success(held[1]), success("f" * 32)])
    assert (told.already, told.accepted, told.refused) == ((held[0],), (held[1],), ("f" * 32,))
    again = both.record(batch.number, quick, [success(held[0]), success(held[1])])
    assert again.already == tuple(held), "telling it again changes nothing"
    account = both.account(batch.number)
    assert (account.state, account.items["succeeded"], account.wasted_runs, account.files) == ("over", 2, 1, 2)
    assert account.wasted_gpu_seconds == 10.0


def test_a_pulse_lengthens_leases_and_takes_up_what_had_run_out_meanwhile(store: BatchStore, clock: Clock) -> None:
    batch = begin(store, one_each(4))
    pod = start_pod(store, batch, 0)
    held = identifiers(store, batch, pod, 2, A)
    clock.now += 100
    assert store.pulse(batch.number, pod, Pulse(in_hand=tuple(held[:1]), present=(A,))).revoked == ()
    clock.now += 100
    assert store.expire(batch.number) == 1, "of what it did not name"
    clock.now += 100
    assert store.expire(batch.number) == 1
    assert store.pulse(batch.number, pod, Pulse(in_hand=tuple(held), present=(A,))).revoked == ()
    assert store.counts(batch.number)["leased"] == 2


def test_a_failure_is_tried_elsewhere_and_counts_only_of_the_pods_own_lease(store: BatchStore) -> None:
    batch = begin(store, plan(1, [[(A, 1)], [(A, 1)]]))
    pods = [start_pod(store, batch, number) for number in (0, 1)]
    (item,) = identifiers(store, batch, pods[0], 1, A)
    assert store.record(batch.number, pods[0], [failure(item, 1.0)]).accepted == (item,)
    assert store.record(batch.number, pods[0], [failure(item, 1.0)]).already == (item,), "told again"
    assert identifiers(store, batch, pods[1], 1, A) == [item]
    assert store.record(batch.number, pods[0], [failure(item, 1.0)]).already == (item,), "it is the other's now"
    store.record(batch.number, pods[1], [failure(item, 2.0)])
    assert identifiers(store, batch, pods[0], 1, A) == [item]
    store.record(batch.number, pods[0], [failure(item, 3.0)])
    assert store.counts(batch.number)["failed"] == 1, "three times are enough"
    account = store.account(batch.number)
    assert account.state == "over"
    assert [(entry.code, entry.message, entry.items) for entry in account.failures] == [("out_of_memory", "no room", 1)]
    assert account.wasted_runs == 2
    store.record(batch.number, pods[1], [success(item, 2.5)])
    assert store.counts(batch.number)["succeeded"] == 1, "a late success is one"


def test_what_cannot_succeed_is_not_tried_again(store: BatchStore) -> None:
    batch = begin(store, one_each(2))
    pod = start_pod(store, batch, 0)
    (item,) = identifiers(store, batch, pod, 5, A)
    store.record(batch.number, pod, [failure(item, retryable=False)])
    assert store.counts(batch.number) == {"waiting": 1, "leased": 0, "succeeded": 0, "failed": 1, "cancelled": 0}


@pytest.mark.parametrize("name", ["other/image.png", "../x", "{}", "{}/../../x", "{}//x", "/{}/x"])
def test_files_of_another_name_are_refused(store: BatchStore, name: str) -> None:
    batch = begin(store, one_each(2))
    pod = start_pod(store, batch, 0)
    (item,) = identifiers(store, batch, pod, 5, A)
    record = success(item)
    file = record.files[0].model_copy(update={"name": name.format(item)})
    told = store.record(batch.number, pod, [record.model_copy(update={"files": (file,)})])
    assert told.refused == (item,)


def test_leaving_and_bye_give_back_and_an_ended_pod_hears_so(store: BatchStore) -> None:
    batch = begin(store, one_each(10))
    pod = start_pod(store, batch, 0)
    held = identifiers(store, batch, pod, 4, A)
    orders = store.pulse(batch.number, pod, Pulse(in_hand=tuple(held[1:]), present=(), is_leaving=True))
    assert orders.state == "over"
    assert store.counts(batch.number)["leased"] == 1, "one is made and on its way"
    assert store.lease(batch.number, pod, 4, [A]).state == "over"
    store.bye(batch.number, pod, "outbid")
    assert store.counts(batch.number)["leased"] == 0
    for call in (
        lambda: store.lease(batch.number, pod, 1, [A]),
        lambda: store.pulse(batch.number, pod, Pulse(in_hand=(), present=())),
        lambda: store.hello(batch.number, pod, CONDITION),
    ):
        with pytest.raises(PodEnded, match="outbid"):
            call()
    assert store.record(batch.number, pod, [success(held[0])]).accepted == (held[0],), "files are delivered: it counts"
    with pytest.raises(PodNotFound):
        store.lease(batch.number, "comfypod-batch1-7-0", 1, [])


def test_an_unfit_pod_gets_nothing(store: BatchStore) -> None:
    batch = begin(store, one_each(10))
    pod = start_pod(store, batch, 0)
    store.hello(batch.number, pod, CONDITION.model_copy(update={"problem": "no GPU"}))
    assert store.lease(batch.number, pod, 1, [A]).state == "over"
    assert store.welcome(batch.number, pod).state == "over"


def test_pausing_cancelling_and_going_on(both: BatchStore) -> None:
    batch = begin(both, one_each(10))
    pod = start_pod(both, batch, 0)
    held = identifiers(both, batch, pod, 2, A)
    both.change_state(batch.number, "paused", "lunch")
    assert both.lease(batch.number, pod, 1, [A]).state == "paused"
    assert both.pulse(batch.number, pod, Pulse(in_hand=tuple(held), present=(A,))).revoked == ()
    both.change_state(batch.number, "cancelled")
    orders = both.pulse(batch.number, pod, Pulse(in_hand=tuple(held), present=(A,)))
    assert (orders.state, orders.revoked) == ("cancelled", tuple(held))
    assert both.counts(batch.number)["cancelled"] == 10
    both.record(batch.number, pod, [success(held[0])])
    assert both.find().state == "cancelled"
    both.change_state(batch.number, "running")
    assert both.counts(batch.number) == {"waiting": 9, "leased": 0, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert len(identifiers(both, batch, pod, 9, A)) == 4


def test_a_spare_pod_ends_when_others_make_the_rest(store: BatchStore, clock: Clock) -> None:
    batch = begin(store, one_each(4))
    first, second = start_pod(store, batch, 0), start_pod(store, batch, 1)
    made = identifiers(store, batch, first, 4, A)
    store.record(batch.number, first, [success(name) for name in made])
    store.lease(batch.number, second, 4, [B])
    assert store.lease(batch.number, first, 4, [A]).state == "running"
    clock.now += 29
    assert store.lease(batch.number, first, 4, [A]).state == "running"
    clock.now += 2
    assert store.lease(batch.number, first, 4, [A]).state == "over"
    clock.now += 100
    assert store.lease(batch.number, second, 4, [B]).state == "running", "the last one stays"


def test_a_pod_helps_another_where_files_are_worth_fetching_and_fit(store: BatchStore) -> None:
    roomy = plan(40, [[(A, 20)], [(B, 20)]])
    pods = tuple(pod.model_copy(update={"disk_bytes": 14 * 10**9}) for pod in roomy.pods)
    batch = begin(store, roomy.model_copy(update={"pods": pods}))
    pod = start_pod(store, batch, 0)
    made = identifiers(store, batch, pod, 20, A)
    store.record(batch.number, pod, [success(name) for name in made])
    help_ = store.lease(batch.number, pod, 20, [A])
    assert {item.assets for item in help_.items} == {(B,)}
    assert [asset.key for asset in help_.assets] == [B]


def test_one_process_coordinates_a_batch_until_it_is_silent_or_known_to_be_gone(both: BatchStore, clock: Clock) -> None:
    batch = begin(both, one_each(2))
    both.hold(batch.number, "one")
    both.hold(batch.number, "one")
    with pytest.raises(BatchInUse, match="one"):
        both.hold(batch.number, "two")
    both.hold(batch.number, "two", gone="one")
    clock.now += 31
    both.hold(batch.number, "three")
    both.let_go(batch.number, "two")
    with pytest.raises(BatchInUse, match="three"):
        both.hold(batch.number, "four")


def test_counts_are_those_of_the_rows(both: BatchStore, clock: Clock) -> None:
    """Whatever happens in whichever order, the sums that are kept are the sums that are."""
    batch = begin(both, plan(60, [[(A, 30)], [(B, 30)], [(A, 10), (B, 10)]]))
    pods = [start_pod(both, batch, number) for number in (0, 1, 2)]
    for step in range(40):
        pod = pods[step % 3]
        held = identifiers(both, batch, pod, 3, A, B)
        if step % 5 == 0:
            clock.now += 200
            both.expire(batch.number)
        elif step % 7 == 0:
            both.pulse(batch.number, pod, Pulse(in_hand=tuple(held), present=(), is_leaving=False))
        elif held:
            records: list[Record] = [success(held[0], float(step))]
            records += [failure(name, float(step), retryable=step % 2 == 0) for name in held[1:]]
            both.record(batch.number, pods[(step + step % 4 // 3) % 3], records)
    with both._database.read() as connection:
        grouped = connection.exec_driver_sql("SELECT state, count(*) FROM batch_items GROUP BY state")
        rows = dict(grouped.all())
        shares = connection.exec_driver_sql(
            "SELECT s.taken, (SELECT count(*) FROM batch_items i WHERE i.group_number = s.group_number "
            "AND i.pod_number = s.pod_number AND i.state <> 'waiting') FROM batch_shares s"
        ).all()
    assert {state: count for state, count in both.counts(batch.number).items() if count} == rows
    assert all(taken == counted for taken, counted in shares)
    account = both.account(batch.number)
    assert sum(pod.items for pod in account.pods) == rows["succeeded"]
    assert sum(speed.items for speed in account.speeds) == rows["succeeded"]


def test_no_query_of_a_pods_way_looks_through_a_whole_batch(store: BatchStore, clock: Clock) -> None:
    """SQLite tells how it would look, whatever the size: nothing that grows with the items is read on and on."""
    batch = begin(store, one_each(200))
    pod = start_pod(store, batch, 0)
    store.book(batch.number)
    looks: list[tuple[str, str]] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            raw = connection.connection.driver_connection.cursor()
            looks.extend((row[3], statement) for row in raw.execute("EXPLAIN QUERY PLAN " + statement, parameters))

    sa.event.listen(store._database.engine, "before_cursor_execute", explain)
    held = identifiers(store, batch, pod, 10, A)
    store.pulse(batch.number, pod, Pulse(in_hand=tuple(held), present=(A,)))
    store.record(batch.number, pod, [success(held[0]), failure(held[1]), failure(held[2], retryable=False)])
    store.lease(batch.number, pod, 10, [])
    store.expire(batch.number)
    store.sample_progress(batch.number)
    store.standing(batch.number)
    store.account(batch.number)
    store.bye(batch.number, pod, "over")
    bad = [
        (look, statement)
        for look, statement in looks
        if re.match(r"(SCAN|SEARCH) batch_(items|jobs|records)\b", look)
        and ("SCAN" in look or look.endswith("(batch=?)"))
        and "batch_records_failed" not in look  # which has few
    ]
    assert len(looks) > 30
    assert not bad, "\n".join(f"{look}: {statement}" for look, statement in bad)

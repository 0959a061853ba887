"""The keeper with a provider of its own and a clock: pods come, go, are lost, and in the end there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.coordinator.keeper import Keeper, KeeperOptions
from comfypod.batch.coordinator.renting import PodOptions, Renting
from comfypod.batch.documents import Offer, Plan, Pod, PodWish, Pulse
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import BatchPod
from comfypod.errors import BatchInUse, ComfyPodError, NoCapacity, ProviderRefused, ProviderUnavailable
from tests.batch.coordinator.making import CHECKPOINTS, CONDITION, Clock, begin, offer, one_each, plan, success

A, B = CHECKPOINTS


class Provider:
    """Pods that do nothing; calls fail as the test wants."""

    name = "fake"

    def __init__(self, clock: Clock) -> None:
        self.rented: dict[str, Pod] = {}
        self.asked: list[tuple[str, float | None, str]] = []
        self.troubles: list[ComfyPodError] = []
        self.is_away = False
        self.environments: dict[str, dict[str, str]] = {}
        self._clock = clock

    def offers(self) -> list[Offer]:
        return []

    def create(self, wish: PodWish) -> Pod:
        self.asked.append((wish.name, wish.bid_dollars_per_hour, wish.offer.price_class))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None and not isinstance(trouble, ProviderUnavailable):
            raise trouble
        price = wish.bid_dollars_per_hour or wish.offer.dollars_per_hour
        fields = {"state": "starting", "dollars_per_hour": price, "price_class": wish.offer.price_class}
        pod = Pod(identifier=f"id-{wish.name}", name=wish.name, gpu=wish.offer.gpu, started_at=self._clock(), **fields)  # type: ignore[arg-type]
        self.rented.setdefault(wish.name, pod)
        self.environments[wish.name] = dict(wish.environment)
        if trouble is not None:
            raise trouble  # it was created all the same
        return self.rented[wish.name]

    def pods(self, batch: str | None = None) -> list[Pod]:
        if self.is_away:
            raise ProviderUnavailable("fake", "gone fishing")
        return list(self.rented.values())

    def end(self, pod: Pod) -> None:
        if self.is_away:
            raise ProviderUnavailable("fake", "gone fishing")
        self.rented.pop(pod.name, None)

    def close(self) -> None:
        pass

    def kill(self, name: str, reason: str = "outbid") -> None:
        self.rented[name] = self.rented[name].model_copy(update={"state": "ended", "end_reason": reason})


class Scene:
    """A batch, its store, its keeper and its provider."""

    def __init__(self, store: BatchStore, clock: Clock, planned: Plan, **fields: object) -> None:
        self.clock, self.store = clock, store
        self.batch = begin(store, planned, **fields)
        self.provider = Provider(clock)
        self.desk = Desk(store, self.batch.number)
        self.keeper = self.another()

    def another(self, owner: str = "one") -> Keeper:
        """A keeper that knows nothing but the database."""
        options = PodOptions(image="image", command=("pod",), environment={"HF_TOKEN": "x"})
        renting = Renting(self.provider, self.store.offers(self.batch.number), options)
        keeping = KeeperOptions(owner=owner, told=lambda name, ends_at: {"NAME": name}, tick_seconds=0.01)
        return Keeper(self.desk, renting, keeping, self.clock)

    async def tick(self, seconds: float = 11.0, *, is_stopping: bool = False) -> bool:
        """Time passes, and the keeper looks."""
        self.clock.now += seconds
        is_done = await self.keeper.tick(is_stopping=is_stopping)
        await self.keeper.settle()
        return is_done

    def pods(self) -> list[BatchPod]:
        return self.store.pods(self.batch.number)

    def live(self) -> list[str]:
        return [pod.name.removeprefix("comfypod-batch1-") for pod in self.pods() if pod.state != "ended"]

    def work(self, name: str, checkpoint: str, count: int = 100) -> int:
        """A pod makes what it gets. Returns how much that was."""
        self.store.hello(self.batch.number, name, CONDITION)
        made = 0
        while items := self.store.lease(self.batch.number, name, count, [checkpoint]).items:
            made += len(items)
            self.store.record(self.batch.number, name, [success(item.identifier) for item in items])
        return made


Make = Callable[..., Scene]
FIRST, SECOND = "comfypod-batch1-0-0", "comfypod-batch1-1-0"


@pytest.fixture
def make(store: BatchStore, clock: Clock) -> Make:
    def scene(planned: Plan | None = None, **fields: object) -> Scene:
        return Scene(store, clock, planned or one_each(200), **fields)

    return scene


async def test_pods_come_work_and_go(make: Make) -> None:
    scene = make()
    await scene.tick()
    assert sorted(scene.provider.rented) == [FIRST, SECOND]
    assert scene.provider.environments[FIRST] == {"HF_TOKEN": "x", "NAME": FIRST}
    assert scene.work(FIRST, A) == scene.work(SECOND, B) == 100
    assert not await scene.tick()
    for name in (FIRST, SECOND):
        scene.store.bye(scene.batch.number, name, "over")
    assert not await scene.tick()
    assert await scene.tick()
    assert scene.provider.rented == {}
    assert [pod.end_reason for pod in scene.pods()] == ["over", "over"]
    account = scene.store.account(scene.batch.number)
    assert [pod.ended_at is not None for pod in account.pods] == [True, True]


async def test_one_that_was_outbid_is_replaced_and_its_items_go_on(make: Make) -> None:
    scene = make()
    await scene.tick()
    scene.store.hello(scene.batch.number, FIRST, CONDITION)
    held = scene.store.lease(scene.batch.number, FIRST, 5, [A]).items
    scene.provider.kill(FIRST)
    await scene.tick()
    assert scene.store.counts(scene.batch.number)["leased"] == 0
    assert scene.pods()[0].end_reason == "outbid"
    assert FIRST not in scene.provider.rented, "an ended one that is listed may cost something"
    await scene.tick()
    assert "0-1" in scene.live()
    assert scene.work("comfypod-batch1-0-1", A) == 100
    assert len(held) == 5


async def test_a_pod_whose_creation_was_not_answered_is_found_and_not_made_twice(make: Make) -> None:
    scene = make(plan(100, [[(A, 50), (B, 50)]]))
    scene.provider.troubles = [ProviderUnavailable("fake", "no answer")]
    await scene.tick()
    assert list(scene.provider.rented) == [FIRST]
    assert [name for name, _, _ in scene.provider.asked] == [FIRST, FIRST]
    assert scene.live() == ["0-0"]


async def test_a_coordinator_that_was_killed_goes_on_with_the_pods_that_there_are(make: Make) -> None:
    scene = make()
    await scene.tick()
    scene.provider.kill(SECOND)
    stranger = scene.provider.rented[FIRST].model_copy(update={"name": "comfypod-batch1-7-0", "identifier": "x"})
    scene.provider.rented[stranger.name] = stranger
    scene.keeper = scene.another("two")
    with pytest.raises(BatchInUse):
        await scene.keeper.tick()
    scene.clock.now += 31
    await scene.tick()
    await scene.tick()
    assert sorted(scene.provider.rented) == [FIRST, "comfypod-batch1-1-1"], "the unknown one was ended"


async def test_one_killed_between_writing_a_pod_down_and_renting_it_leaves_nothing_behind(make: Make) -> None:
    scene = make(plan(100, [[(A, 50), (B, 50)]]))
    start = scene.store.plan(scene.batch.number).pods[0]
    wish = PodWish(
        batch="batch1",
        number=0,
        name=FIRST,
        offer=start.offer,
        image="",
        command=(),
        environment={},
        disk_bytes=1,
    )
    scene.store.add_pod(scene.batch.number, wish, 0, scene.clock.now + 3600)
    await scene.tick(100)
    assert scene.live() == ["0-0"], "it may come yet"
    await scene.tick(100)
    await scene.tick()
    assert scene.live() == ["0-1"]
    assert scene.store.account(scene.batch.number).pods[0].name.endswith("0-1"), "what never came was never paid for"


async def test_bids_climb_and_then_the_full_price_is_paid(make: Make) -> None:
    cheap = offer(price_class="interruptible", dollars_per_hour=0.1)
    planned = plan(100, [[(A, 50), (B, 50)]], offer=cheap)
    pods = tuple(
        pod.model_copy(update={"bid_dollars_per_hour": 0.1, "bid_ceiling_dollars_per_hour": 0.11})
        for pod in planned.pods
    )
    scene = make(planned.model_copy(update={"pods": pods}), offers=(cheap, offer(dollars_per_hour=0.2)))
    scene.provider.troubles = [NoCapacity("fake", "A4000", "none")] * 3
    await scene.tick()
    assert [(bid, price) for _, bid, price in scene.provider.asked] == [
        (0.1, "interruptible"),
        (0.105, "interruptible"),
        (0.11, "interruptible"),
        (None, "on_demand"),
    ]
    (rented,) = scene.pods()
    assert (rented.dollars_per_hour, rented.offer.price_class) == (0.2, "on_demand")


async def test_without_capacity_it_is_tried_again_more_and_more_seldom(make: Make) -> None:
    scene = make(plan(100, [[(A, 50), (B, 50)]]))
    scene.provider.troubles = [NoCapacity("fake", "A4000", "none")] * 100
    for _ in range(60):
        await scene.tick(10)
    assert 5 <= len(scene.provider.asked) <= 9
    assert scene.live() == []
    assert scene.store.account(scene.batch.number).pods == ()


async def test_a_refusal_at_the_very_first_ends_it(make: Make) -> None:
    scene = make(plan(100, [[(A, 50), (B, 50)]]))
    scene.provider.troubles = [ProviderRefused("fake", "a wrong key")]
    await scene.tick()
    with pytest.raises(ProviderRefused, match="a wrong key"):
        await scene.tick(1)


async def test_the_budget_is_never_passed(make: Make) -> None:
    scene = make(budget_dollars=0.05)  # two pods at $0.20: 7.5 minutes
    await scene.tick()
    for name in (FIRST, SECOND):
        scene.store.hello(scene.batch.number, name, CONDITION)
        scene.store.lease(scene.batch.number, name, 5, [A, B])
    ended_at = None
    for _ in range(100):
        await scene.tick(10)
        if scene.store.of(scene.batch.number).state == "paused" and ended_at is None:
            ended_at = scene.clock.now
        for name in (FIRST, SECOND):
            if name in scene.provider.rented:
                orders = scene.store.pulse(scene.batch.number, name, Pulse(in_hand=(), present=()))
                assert orders.state == ("running" if ended_at is None else "over")
                if ended_at is not None and scene.clock.now > ended_at + 90:
                    scene.store.bye(scene.batch.number, name, "over")
    assert scene.provider.rented == {}
    batch = scene.store.of(scene.batch.number)
    assert (batch.state, batch.note) == ("paused", "the budget of $0.0500 is spent")
    account = scene.store.account(scene.batch.number)
    spent = sum(((pod.ended_at or 0) - pod.rented_at) * pod.dollars_per_hour / 3600 for pod in account.pods)
    assert 0.03 < spent <= 0.05
    assert scene.store.counts(scene.batch.number)["waiting"] == 200
    assert await scene.tick(), "and the keeper is done"


async def test_while_the_provider_is_away_pods_are_left_as_they_are_and_ended_afterwards(make: Make) -> None:
    scene = make()
    await scene.tick()
    scene.provider.is_away = True
    scene.store.change_state(scene.batch.number, "cancelled")
    await scene.tick()
    await scene.tick(30)
    assert len(scene.live()) == 2, "nobody knows whether they have ended"
    scene.provider.is_away = False
    await scene.tick()
    assert (scene.live(), scene.provider.rented) == ([], {})
    assert await scene.tick()


async def test_told_to_end_now_it_ends_every_pod(make: Make) -> None:
    scene = make()
    await scene.tick()
    stop, end_now = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(scene.keeper.run(stop, end_now))
    await asyncio.sleep(0)
    stop.set()
    end_now.set()
    await asyncio.wait_for(running, 30)
    assert (scene.live(), scene.provider.rented) == ([], {})
    assert scene.store.of(scene.batch.number).state == "running", "it can go on later"


async def test_told_to_stop_it_lets_pods_finish(make: Make) -> None:
    scene = make()
    await scene.tick()
    name = FIRST
    scene.store.hello(scene.batch.number, name, CONDITION)
    held = scene.store.lease(scene.batch.number, name, 5, [A]).items
    assert not await scene.tick(is_stopping=True)
    orders = scene.store.pulse(
        scene.batch.number, name, Pulse(in_hand=tuple(item.identifier for item in held), present=(A,))
    )
    assert (orders.state, len(orders.revoked)) == ("over", 5), "what has not begun waits again"
    scene.store.record(scene.batch.number, name, [success(held[0].identifier)])
    scene.store.bye(scene.batch.number, name, "over")
    assert name in scene.provider.rented
    await scene.tick(is_stopping=True)
    assert name not in scene.provider.rented
    assert SECOND not in scene.provider.rented, "one that has not begun is not waited for"

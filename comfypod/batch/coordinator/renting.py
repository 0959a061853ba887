"""A pod of the plan, asked for until there is one: bid by bid, then other types; never two of one name."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import WARNING
from typing import Final

from comfypod.batch.documents import Offer, Pod, PodPlan, PodWish
from comfypod.batch.providers.bidding import Rung, rungs
from comfypod.batch.providers.interface import CALL_SECONDS, Provider
from comfypod.errors import ComfyPodError, NoCapacity, ProviderRefused, ProviderUnavailable
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.threads import CallsInThreads

MOST_CALLS: Final = 8
PATIENCE_SECONDS: Final = CALL_SECONDS + 30
"""Longer than any call: one that is given up must not create a pod beside the next one's."""
ASKING_SECONDS: Final = 300.0
"""So long it is asked again whether a pod has come of a call that was not answered."""
UNFIT_TYPES: Final = 2
"""A type of which so many pods in a row were of no use is asked for last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """What every pod of a batch is.

    Args:
        image: the container's.
        command: what runs in it.
        environment: beside what each pod is told of its own.
        own_environment: what a pod is told that depends on its name.
    """

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    own_environment: Callable[[str], Mapping[str, str]] = lambda _: {}


@dataclass(frozen=True, slots=True)
class Granted:
    """A pod that there is, and the wish that was granted."""

    pod: Pod
    wish: PodWish


class Renting:
    """Asks a provider, in threads, each call within a deadline."""

    def __init__(self, provider: Provider, offers: Sequence[Offer], options: PodOptions) -> None:
        self._provider = provider
        self._offers = offers
        self._options = options
        self._calls = CallsInThreads(MOST_CALLS)
        self._useless: Counter[tuple[str, str]] = Counter()

    def wish(self, batch: str, pod: PodPlan, name: str, told: Mapping[str, str]) -> PodWish:
        """The first wish for a pod of the plan; ``told`` is its environment beside that of all pods."""
        options = self._options
        return PodWish(
            batch=batch,
            number=pod.number,
            name=name,
            offer=pod.offer,
            image=options.image,
            command=options.command,
            environment={**options.environment, **told, **options.own_environment(name)},
            disk_bytes=pod.disk_bytes,
            bid_dollars_per_hour=pod.bid_dollars_per_hour,
        )

    async def rent(self, wish: PodWish, pod: PodPlan, work: float, *, is_urgent: bool) -> Granted:
        """A pod; it is asked for again, by the same name, where nobody knows what came of a call.

        Raises:
            NoCapacity: for none of what could be asked for.
            ProviderUnavailable: there may be one by this name, or not.
            ProviderRefused: it will never give one.
        """
        problem: ComfyPodError | None = None
        for rung in self._ladder(pod, work, is_urgent=is_urgent):
            asked = wish.model_copy(update={"offer": rung.offer, "bid_dollars_per_hour": rung.bid_dollars_per_hour})
            try:
                return Granted(await self._create(asked), asked)
            except NoCapacity as error:
                problem = error
        raise problem or NoCapacity(self._provider.name, pod.offer.gpu, "there is nothing else that would do")

    def judge(self, offer: Offer, *, useful: bool) -> None:
        """Remember whether a pod of this type was of any use."""
        key = (offer.gpu, offer.price_class)
        self._useless[key] = 0 if useful else self._useless[key] + 1

    async def pods(self, batch: str) -> list[Pod] | None:
        """All pods of the batch that the provider knows; None: it does not answer."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._calls.call(self._provider.pods, batch)
        except (ProviderUnavailable, ProviderRefused, TimeoutError) as error:
            event("pods_not_listed", WARNING, provider=self._provider.name, cause=str(error) or "no answer")
            return None

    async def end(self, pod: Pod) -> bool:
        """End a pod; whether it could be."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._calls.call(self._provider.end, pod)
        except (ProviderUnavailable, ProviderRefused, TimeoutError) as error:
            event("pod_not_ended", WARNING, pod=pod.name, cause=str(error) or "no answer")
            return False
        return True

    def _ladder(self, pod: PodPlan, work: float, *, is_urgent: bool) -> list[Rung]:
        others = [offer for offer in self._offers if _does_the_same(offer, pod.offer)]
        found = rungs(
            pod.offer,
            others,
            start=pod.bid_dollars_per_hour,
            ceiling=pod.bid_ceiling_dollars_per_hour,
            disk_bytes=pod.disk_bytes,
            work=work if work > 0 else math.inf,
        )
        sure = [rung for rung in found if rung.offer.price_class != "interruptible"] if is_urgent else []
        return sorted(sure or found, key=self._is_useless)

    def _is_useless(self, rung: Rung) -> bool:
        return self._useless[rung.offer.gpu, rung.offer.price_class] >= UNFIT_TYPES

    async def _create(self, wish: PodWish) -> Pod:
        pauses = backoff_seconds(first=0.5, longest=30.0)
        until = time.monotonic() + ASKING_SECONDS
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await self._calls.call(self._provider.create, wish)
            except (ProviderUnavailable, TimeoutError) as error:
                event("pod_not_created", WARNING, pod=wish.name, cause=str(error) or "no answer")
                if time.monotonic() >= until:
                    raise ProviderUnavailable(self._provider.name, str(error) or "no answer") from error
            await asyncio.sleep(next(pauses))


def _does_the_same(offer: Offer, planned: Offer) -> bool:
    """Whether it could make the planned one's items, of the same provider; serverless ones are no pods."""
    is_pod = offer.price_class != "serverless" and offer.provider == planned.provider
    return is_pod and offer.memory_bytes >= planned.memory_bytes

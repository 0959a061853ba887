"""RunPod's pods as a provider: at the full price through REST v2, for a bid through GraphQL while RunPod has that.

Pods have a container disk and no volume: what they need is fetched, and what they make is sent away; one that was
outbid begins anew wherever it is, and costs nothing while it does not run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from comfypod.batch.documents import Offer, Pod, PodState, PodWish, PriceClass
from comfypod.batch.providers.names import is_of
from comfypod.cloud.pods.account import Account
from comfypod.cloud.pods.api import PROVIDER
from comfypod.cloud.pods.documents import CloudPod, EndReason, GPUType, PodSpec
from comfypod.cloud.pods.renting import Rentals
from comfypod.cloud.pods.spot import NOT_OFFERED, SpotNotOffered
from comfypod.errors import (
    AuthenticationFailed,
    CloudUnavailable,
    ComfyPodError,
    NoCapacity,
    ProtocolViolation,
    ProviderRefused,
    ProviderUnavailable,
    RequestRefused,
)

NAME: Final = PROVIDER
PRICE_CLASS_VARIABLE: Final = "COMFYPOD_POD_PRICE_CLASS"
"""In a pod's environment, which RunPod tells of: REST v2 does not say how a pod was rented."""
DEFAULT_INTERRUPTIONS_PER_HOUR: Final = 0.1
"""A guess, for types of which nothing is known: RunPod publishes none."""
_log = logging.getLogger(__name__)


class RunPodProvider:
    """Pods of one account.

    ``known`` are offers with what RunPod does not tell, speeds above all; its own prices take the place of theirs.
    """

    def __init__(self, account: Account, known: Sequence[Offer] = (), *, rentals: Rentals | None = None) -> None:
        self._rentals = rentals or Rentals(account, lambda name: is_of(name, None))
        self._known: dict[tuple[str, PriceClass], Offer] = {
            (offer.gpu, offer.price_class): offer for offer in known if offer.price_class != "serverless"
        }

    @property
    def name(self) -> str:
        """``runpod``."""
        return NAME

    def close(self) -> None:
        """Close connections; pods go on."""
        self._rentals.close()

    def offers(self) -> list[Offer]:
        """The known types that there are now, on demand and, where RunPod still has them, interruptible."""
        with _mapped():
            types = [gpu for gpu in self._rentals.api.gpu_types() if self._known_of(gpu)]
        least_bids = self._least_bids()
        on_demand = [self._offer(gpu, "on_demand", gpu.on_demand_dollars) for gpu in types if gpu.is_available]
        return on_demand + [
            self._offer(gpu, "interruptible", least_bids[gpu.id]) for gpu in types if gpu.id in least_bids
        ]

    def create(self, wish: PodWish) -> Pod:
        """Rent a pod; the one of this name that there is, if there is one.

        Raises:
            NoCapacity: there is none, or not for this bid, or RunPod has no interruptible ones any more.
            ProviderUnavailable, ProviderRefused: as `Provider.create`.
        """
        if not is_of(wish.name, wish.batch):
            raise ProviderRefused(NAME, f"{wish.name!r} is no name of a pod of batch {wish.batch!r}")
        is_bid = wish.offer.price_class == "interruptible"
        bid = (wish.bid_dollars_per_hour or wish.offer.dollars_per_hour) if is_bid else None
        try:
            with _mapped():
                found = self._rentals.rent(_spec(wish), bid)
        except SpotNotOffered as error:
            raise NoCapacity(NAME, wish.offer.gpu, NOT_OFFERED) from error
        return _pod(found, None)

    def pods(self, batch: str | None = None) -> list[Pod]:
        """Ours; what was terminated is missing at once, what was outbid or stopped is listed as ended."""
        with _mapped():
            found = [pod for pod in self._rentals.pods() if is_of(pod.name, batch)]
        reasons = {} if all(pod.is_live for pod in found) else self._end_reasons()
        return [_pod(pod, reasons.get(pod.id, "exited")) for pod in found]

    def end(self, pod: Pod) -> None:
        """Terminate it."""
        with _mapped():
            self._rentals.api.terminate(pod.identifier)

    def raise_bid(self, pod: Pod, dollars_per_hour: float) -> Pod:
        """Have an outbid pod back on its host; its disk is empty.

        Raises:
            NoCapacity: the host is full, the bid too low, or RunPod has no interruptible pods any more.
            ProviderUnavailable, ProviderRefused: as `create`.
        """
        try:
            with _mapped():
                self._rentals.resume(pod.identifier, pod.gpu, dollars_per_hour)
        except SpotNotOffered as error:
            raise NoCapacity(NAME, pod.gpu, NOT_OFFERED) from error
        changes = {"state": "starting", "dollars_per_hour": dollars_per_hour, "end_reason": None}
        return pod.model_copy(update=changes)

    def _known_of(self, gpu: GPUType) -> list[Offer]:
        """What is known of this type: as on demand, and as interruptible."""
        classes: tuple[PriceClass, ...] = ("on_demand", "interruptible")
        return [self._known[gpu.id, price_class] for price_class in classes if (gpu.id, price_class) in self._known]

    def _offer(self, gpu: GPUType, price_class: PriceClass, dollars_per_hour: float) -> Offer:
        """What is known of the type, if it may be of the other class only, with what RunPod says."""
        known = self._known.get((gpu.id, price_class)) or self._known_of(gpu)[0]
        changes = {
            "provider": NAME,
            "price_class": price_class,
            "dollars_per_hour": dollars_per_hour,
            "memory_bytes": gpu.memory_bytes,
        }
        if known.price_class != price_class:
            changes["interruptions_per_hour"] = 0.0 if price_class == "on_demand" else DEFAULT_INTERRUPTIONS_PER_HOUR
        return known.model_copy(update=changes)

    def _least_bids(self) -> dict[str, float]:
        """Empty where they cannot be told: what is at the full price can be rented all the same."""
        try:
            found = self._rentals.spot.least_bids()
        except ComfyPodError as error:
            _log.warning("spot_prices_unknown", extra={"fields": {"reason": str(error)}})
            return {}
        if not found:
            _log.warning("spot_not_offered", extra={"fields": {"provider": NAME, "reason": NOT_OFFERED}})
        return found

    def _end_reasons(self) -> dict[str, EndReason]:
        try:
            return self._rentals.spot.end_reasons()
        except ComfyPodError as error:
            _log.warning("end_reasons_unknown", extra={"fields": {"reason": str(error)}})
            return {}


def _spec(wish: PodWish) -> PodSpec:
    return PodSpec(
        name=wish.name,
        image=wish.image,
        gpu=wish.offer.gpu,
        command=wish.command,
        environment={**wish.environment, PRICE_CLASS_VARIABLE: wish.offer.price_class},
        disk_bytes=wish.disk_bytes,
    )


def _pod(pod: CloudPod, reason: str | None) -> Pod:
    state: PodState = "ended" if not pod.is_live else "running" if pod.status == "RUNNING" else "starting"
    told = pod.environment.get(PRICE_CLASS_VARIABLE, "")
    price_class: PriceClass = "interruptible" if told == "interruptible" else "on_demand"
    return Pod(
        identifier=pod.id,
        name=pod.name,
        state=state,
        dollars_per_hour=pod.dollars_per_hour,
        price_class=price_class,
        gpu=pod.gpu,
        started_at=pod.started_at,
        end_reason=reason if state == "ended" else None,
    )


@contextmanager
def _mapped() -> Iterator[None]:
    """What RunPod does, in the words of providers.

    Raises:
        ProviderUnavailable: it may go better later.
        ProviderRefused: it will not.
    """
    try:
        yield
    except AuthenticationFailed as error:
        raise ProviderRefused(NAME, "the API key was refused; set RUNPOD_API_KEY to one that may rent pods") from error
    except RequestRefused as error:
        raise ProviderRefused(NAME, f"HTTP {error.status}: {error.answer}") from error
    except CloudUnavailable as error:
        raise ProviderUnavailable(NAME, error.cause) from error
    except ProtocolViolation as error:
        raise ProviderUnavailable(NAME, f"it answered something unexpected: {error.received}") from error

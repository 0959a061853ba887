"""What every provider of pods can do. Calls block: make them in threads, with a deadline of `CALL_SECONDS` or more."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from comfypod.batch.documents import Offer, Pod, PodWish

CALL_SECONDS = 90.0
"""Hardly any call takes longer; one that does goes on in its thread, and may be made again."""
GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL, as RunPod has it (docs.runpod.io, "Pod pricing", May 2026)."""


class Provider(Protocol):
    """Who rents out pods. Its methods may be called from several threads at once."""

    @property
    def name(self) -> str:
        """As `Offer.provider` has it: ``local``, ``runpod``."""

    def offers(self) -> list[Offer]:
        """What can be rented now, as far as it tells; an offer is no promise.

        Raises:
            ProviderUnavailable: it did not answer.
            ProviderRefused: it will not answer us.
        """

    def create(self, wish: PodWish) -> Pod:
        """Rent a pod. Called again with the same name, it answers the pod that there is: never a second one.

        Raises:
            NoCapacity: there is none of this type, or not for this bid; the next step of `bidding.rungs` may do.
            ProviderUnavailable: it did not answer. The pod may be there: call again with the same wish, or look for
                its name among `pods`.
            ProviderRefused: it will not do this, however often it is asked.
        """

    def pods(self, batch: str | None = None) -> list[Pod]:
        """Pods of ours, known by their names; of one batch, or of all.

        One that has ended may be listed as ended for a while, or be missing at once. An ended one that is still listed
        may cost something: `end` it.

        Raises:
            ProviderUnavailable, ProviderRefused: as `offers`.
        """

    def end(self, pod: Pod) -> None:
        """End a pod for good: SIGTERM, `GRACE_SECONDS`, SIGKILL. One that has ended, or is gone, is no error.

        Raises:
            ProviderUnavailable, ProviderRefused: as `offers`; the pod may go on, and cost.
        """

    def close(self) -> None:
        """Let go of connections; pods go on."""


@runtime_checkable
class BiddingProvider(Provider, Protocol):
    """A provider whose interruptible pods are bid for."""

    def raise_bid(self, pod: Pod, dollars_per_hour: float) -> Pod:
        """Have a pod that was outbid back, on its host, for a higher bid.

        Raises:
            NoCapacity: the host is full, or the bid too low still.
            ProviderUnavailable, ProviderRefused: as `create`.
        """

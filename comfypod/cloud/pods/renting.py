"""Renting pods, each once: a call that may have rented one is never simply made again.

Neither API has a key that would make it so. Names are ours and unique, so a pod is looked for by its name: before a
call, and after one whose outcome is unknown. Two of one name, which a late list may lead to, are found when pods are
listed, and the younger one is ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import groupby

from comfypod.cloud.endpoint import OutcomeUnknown
from comfypod.cloud.pods.account import Account
from comfypod.cloud.pods.api import PodsAPI
from comfypod.cloud.pods.calling import Caller
from comfypod.cloud.pods.documents import CloudPod, PodSpec
from comfypod.cloud.pods.spot import SpotAPI
from comfypod.cloud.submission import LOOKS_AFTER_SECONDS
from comfypod.errors import CloudUnavailable, ComfyPodError

_LOCKS = 64
"""Shared by all names: two names that share one only wait for each other."""
_log = logging.getLogger(__name__)


class Rentals:
    """The pods of one account whose names are ``ours``; may be used by many threads.

    All methods raise `AuthenticationFailed`, `CloudUnavailable`, `RequestRefused` and `ProtocolViolation`.
    """

    def __init__(self, account: Account, ours: Callable[[str], bool], *, caller: Caller | None = None) -> None:
        self._caller = caller or Caller(account)
        self._ours = ours
        self._names = [threading.Lock() for _ in range(_LOCKS)]
        self.api = PodsAPI(self._caller)
        self.spot = SpotAPI(self._caller)

    def close(self) -> None:
        """Close what is open."""
        self._caller.close()

    def rent(self, spec: PodSpec, bid_dollars_per_hour: float | None) -> CloudPod:
        """The pod of this name: the one that there is, or a new one; without a bid at the full price.

        Raises:
            NoCapacity: there is none to rent.
            SpotNotOffered: none can be bid for.
            CloudUnavailable: also where one may have been rented; call again with the same name.
        """
        # A call that its caller has given up may still be on its way, by the same name.
        with self._names[hash(spec.name) % _LOCKS]:
            found = self._find(spec.name)
            if found is not None:
                return found
            try:
                if bid_dollars_per_hour is None:
                    return self.api.create(spec)
                pod_id = self.spot.rent(spec, bid_dollars_per_hour)
            except OutcomeUnknown as error:
                return self._look_for(spec.name, error)
        return CloudPod(
            id=pod_id,
            name=spec.name,
            status="PROVISIONING",
            gpu=spec.gpu,
            dollars_per_hour=bid_dollars_per_hour,
            created_at=0.0,
            environment=spec.environment,
        )

    def resume(self, pod_id: str, gpu: str, bid_dollars_per_hour: float) -> None:
        """Have an outbid pod back for another bid. It does no harm to ask twice.

        Raises:
            NoCapacity, SpotNotOffered: as `rent`.
        """
        try:
            self.spot.resume(pod_id, gpu, bid_dollars_per_hour)
        except OutcomeUnknown as error:
            raise CloudUnavailable(self._caller.url, f"{error}; the pod may run again") from error

    def pods(self) -> list[CloudPod]:
        """Ours, one for each name."""
        found = sorted(
            (pod for pod in self.api.pods() if self._ours(pod.name)),
            key=lambda pod: (pod.name, not pod.is_live, pod.created_at, pod.id),
        )
        kept = []
        for _, same in groupby(found, key=lambda pod: pod.name):
            first, *others = same
            kept.append(first)
            for other in others:
                self._end_surplus(other)
        return kept

    def _find(self, name: str) -> CloudPod | None:
        return next((pod for pod in self.pods() if pod.name == name), None)

    def _look_for(self, name: str, cause: OutcomeUnknown) -> CloudPod:
        """The pod that may have been rented, once it is listed; a list may lag."""
        for seconds in LOOKS_AFTER_SECONDS:
            if seconds:
                self._caller.clock.sleep(seconds)
            found = self._find(name)
            if found is not None:
                return found
        raise CloudUnavailable(self._caller.url, f"{cause}; pod {name} may have been rented, and is not listed yet")

    def _end_surplus(self, pod: CloudPod) -> None:
        _log.warning("surplus_pod_ended", extra={"fields": {"pod": pod.name, "pod_id": pod.id}})
        try:
            self.api.terminate(pod.id)
        except ComfyPodError as error:  # the next list shows it again
            _log.warning("surplus_pod_not_ended", extra={"fields": {"pod": pod.name, "reason": str(error)}})

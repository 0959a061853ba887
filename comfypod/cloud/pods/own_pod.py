"""A pod that ends itself, from inside: on RunPod the end of its program ends nothing, its host starts it again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from comfypod.cloud.pods.account import URL_VARIABLE, find_account
from comfypod.cloud.pods.api import PodsAPI
from comfypod.cloud.pods.calling import Caller
from comfypod.errors import ComfyPodError

ID_VARIABLE = "RUNPOD_POD_ID"
KEY_VARIABLE = "RUNPOD_API_KEY"
"""In a pod it holds a key of the pod's own (docs.runpod.io, "Environment variables": "Pod-scoped API key")."""
PATIENCE_SECONDS = 20.0
_log = logging.getLogger(__name__)


def end_own_pod(environment: Mapping[str, str]) -> bool:
    """Terminate the pod that this process runs in, or stop it if that is all it may; whether one of them was done.

    False on any other machine, too. Never raises: the coordinator, and ``comfypod batch reconcile``, end it as well.
    What the pod's own key may do is not documented. ``environment`` is that which the pod was started with.
    """
    pod_id, key = environment.get(ID_VARIABLE, ""), environment.get(KEY_VARIABLE, "")
    if not pod_id.replace("-", "").isalnum() or not key:
        return False
    try:
        caller = Caller(
            find_account(key, environment.get(URL_VARIABLE), environment), patience_seconds=PATIENCE_SECONDS
        )
    except ComfyPodError as error:
        _log.warning("own_pod_not_ended", extra={"fields": {"reason": str(error)}})
        return False
    api = PodsAPI(caller)
    try:
        return any(_does(step, pod_id) for step in (api.terminate, api.stop))
    finally:
        caller.close()


def _does(step: Callable[[str], None], pod_id: str) -> bool:
    try:
        step(pod_id)
    except ComfyPodError as error:
        _log.warning("own_pod_not_ended", extra={"fields": {"reason": str(error)}})
        return False
    return True

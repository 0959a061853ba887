"""The provider that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from comfypod.batch.documents import Offer
from comfypod.batch.providers import local, runpod_pods
from comfypod.batch.providers.interface import Provider
from comfypod.batch.providers.local import LocalProvider
from comfypod.batch.providers.runpod_pods import RunPodProvider
from comfypod.cloud.pods.account import find_account
from comfypod.errors import ConfigurationError

PROVIDERS: Final = (local.NAME, runpod_pods.NAME)


def open_provider(name: str, known: Sequence[Offer] = (), *, folder: Path = local.DEFAULT_FOLDER) -> Provider:
    """``local``, whose processes are kept track of in ``folder``, or ``runpod``; call ``close`` in the end.

    ``known``: offers. Of this machine, as they are; RunPod's with speeds, to which it adds its prices of the moment.

    Raises:
        ConfigurationError: there is no such provider, or no key for it.
    """
    if name == local.NAME:
        return LocalProvider(folder, known or [local.DEFAULT_OFFER])
    if name == runpod_pods.NAME:
        return RunPodProvider(find_account(), known)
    raise ConfigurationError([f"There is no provider {name!r} of pods; there are {' and '.join(PROVIDERS)}."])

"""The provider that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from comfypod.batch.documents import Offer
from comfypod.batch.providers import local, runpod_pods, skypilot
from comfypod.batch.providers.interface import Provider
from comfypod.batch.providers.local import LocalProvider
from comfypod.batch.providers.runpod_pods import RunPodProvider
from comfypod.batch.providers.skypilot import SkyPilotProvider
from comfypod.cloud.pods.account import find_account
from comfypod.errors import ConfigurationError

PROVIDERS: Final = (local.NAME, runpod_pods.NAME, skypilot.NAME)


def open_provider(name: str, known: Sequence[Offer] = (), *, folder: Path | None = None) -> Provider:
    """``local``, ``runpod`` or ``skypilot``; call ``close`` in the end.

    Args:
        name: which.
        known: offers. Of this machine, as they are; RunPod's for their speeds, its prices are those of the moment.
        folder: where processes of this machine are kept track of, and where SkyPilot's tasks are written.

    Raises:
        ConfigurationError: there is no such provider, or no key for it.
    """
    if name == local.NAME:
        return LocalProvider(folder or local.DEFAULT_FOLDER, known or [local.DEFAULT_OFFER])
    if name == runpod_pods.NAME:
        return RunPodProvider(find_account(), known)
    if name == skypilot.NAME:
        return SkyPilotProvider(folder or skypilot.DEFAULT_FOLDER, known)
    raise ConfigurationError([f"There is no provider {name!r} of pods; there are {', '.join(PROVIDERS)}."])

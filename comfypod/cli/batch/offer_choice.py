"""What can be rented, as a command's options say it: of a file, of a provider at this moment, or as it is published."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from comfypod.batch.documents import Offer
from comfypod.batch.planning import builtin_offers, parse_offers
from comfypod.batch.providers import local
from comfypod.batch.providers.opening import open_provider
from comfypod.cli.batch.small_files import read_small_file

SERVERLESS: Final = "serverless"


def choose_offers(file: Path | None, provider: str | None, *, ask: bool = False) -> list[Offer]:
    """The offers of a file, else those that are built in; of a provider only, if one is named.

    Args:
        file: TOML; see docs/explanation/batch-planning.md.
        provider: ``local``, ``runpod``, or ``serverless``: RunPod's endpoints; None: all of them.
        ask: the provider itself, for what it has now and its prices; speeds stay those of the file.

    Raises:
        ConfigurationError: the file is none of offers, or there is no key for the provider.
        ProviderUnavailable, ProviderRefused: it did not say.
    """
    known = _known(file, provider)
    if provider is None:
        return known
    of_provider = [offer for offer in known if (offer.price_class == SERVERLESS) == (provider == SERVERLESS)]
    if provider == local.NAME:
        of_provider = [offer.model_copy(update={"provider": provider}) for offer in of_provider]
    return _asked(provider, of_provider) if ask and provider != SERVERLESS else of_provider


def _known(file: Path | None, provider: str | None) -> list[Offer]:
    if file is not None:
        return parse_offers(read_small_file(file))
    return [local.DEFAULT_OFFER] if provider == local.NAME else builtin_offers()


def _asked(name: str, known: Sequence[Offer]) -> list[Offer]:
    with closing(open_provider(name, known)) as provider:
        return provider.offers()

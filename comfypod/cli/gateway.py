"""``comfypod gateway``: the Comfy API in front of the master, until it is told to stop."""

from __future__ import annotations

import asyncio
import os

from comfypod import logs
from comfypod.cli.printing import write_line
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError
from comfypod.gateway.options import GatewayOptions
from comfypod.gateway.server import Gateway
from comfypod.master.engine import open_store
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket

BUCKET_CHECK_SECONDS = 30.0
_NO_BUCKET = (
    "BUCKET_ENDPOINT_URL: is missing; the gateway keeps uploads in the bucket that the workers commit results to. "
    "Give it the same BUCKET_… settings as the workers."
)


def serve_gateway(database_url: str, options: GatewayOptions) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends at once what the first lets come to its end.

    Raises:
        ConfigurationError: an option or a setting makes no sense, the bucket cannot be used, or it cannot listen.
        StoreOutdated, StoreUnavailable: the database cannot be used.
    """
    options.check()
    settings = Settings.from_environment(os.environ)
    bucket = Bucket.from_settings(settings)
    if bucket is None:
        raise ConfigurationError([_NO_BUCKET])
    logs.configure(settings)
    asyncio.run(_serve(database_url, options, bucket))


async def _serve(database_url: str, options: GatewayOptions, bucket: Bucket) -> None:
    stop = stop_signal()
    await bucket.check(Deadline.after(BUCKET_CHECK_SECONDS))
    store = await asyncio.to_thread(open_store, database_url)
    try:
        gateway = Gateway(options, store, bucket)
        await gateway.start()
        write_line(f"{READY_PREFIX}{gateway.url}")
        await stop.wait()
        stop.clear()
        await _stop(gateway, stop)
    finally:
        await asyncio.to_thread(store.close)


async def _stop(gateway: Gateway, again: asyncio.Event) -> None:
    """Stop, or give up stopping well when told again."""
    stopping, told_again = asyncio.ensure_future(gateway.stop()), asyncio.ensure_future(again.wait())
    try:
        await asyncio.wait({stopping, told_again}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            stopping.result()
    finally:
        for task in (stopping, told_again):
            task.cancel()
        await asyncio.gather(stopping, told_again, return_exceptions=True)

"""One coordinator of one batch, from its start to its end: the server for pods, and the keeper of pods."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.coordinator.keeper import Keeper, KeeperOptions
from comfypod.batch.coordinator.renting import PodOptions, Renting
from comfypod.batch.coordinator.server import Server, ServerOptions
from comfypod.batch.coordinator.situation import Patience
from comfypod.batch.coordinator.tokens import new_token
from comfypod.batch.providers.interface import Provider
from comfypod.batch.providers.processes import ProcessIdentity
from comfypod.batch.runner.environment import ENDS_AT_VARIABLE, POD_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from comfypod.batch.store import BatchStore
from comfypod.batch.store.records import Batch
from comfypod.errors import BatchInUse, ConfigurationError
from comfypod.logs import event


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorOptions:
    """How a batch is coordinated."""

    server: ServerOptions
    pods: PodOptions
    tick_seconds: float = 2.0
    listing_seconds: float = 10.0
    patience: Patience = field(default_factory=Patience)


@asynccontextmanager
async def coordinating(
    store: BatchStore, batch: Batch, options: CoordinatorOptions, provider: Provider
) -> AsyncIterator[Keeper]:
    """Serve the batch's pods while the body runs; in it, have the keeper `run`.

    A batch that was coordinated before goes on at the same port, for its pods know no other; they are given the time of
    a lease to be heard of.

    Raises:
        BatchInUse: another process coordinates it.
        ConfigurationError: it cannot listen there.
        SavingFailed: the folder for results cannot be used.
    """
    owner = this_process()
    desk = Desk(store, batch.number)
    try:
        await desk.ask(take_over, store, batch, owner)
        async with _served(desk, batch, options.server) as server:
            await desk.ask(store.prolong, batch.number)
            token = new_token()
            await desk.ask(store.add_token, batch.number, token)

            def told(name: str, ends_at: float) -> Mapping[str, str]:
                return {
                    URL_VARIABLE: server.url,
                    TOKEN_VARIABLE: token,
                    POD_VARIABLE: name,
                    ENDS_AT_VARIABLE: f"{ends_at:.0f}",
                }

            renting = Renting(provider, await desk.ask(store.offers, batch.number), options.pods)
            keeping = KeeperOptions(
                owner=owner,
                told=told,
                tick_seconds=options.tick_seconds,
                listing_seconds=options.listing_seconds,
                patience=options.patience,
            )
            yield Keeper(desk, renting, keeping)
    finally:
        await asyncio.shield(_let_go(desk, owner))


@asynccontextmanager
async def _served(desk: Desk, batch: Batch, options: ServerOptions) -> AsyncIterator[Server]:
    server = await _listening(desk, batch, options)
    try:
        where = {"host": options.host, "port": server.port, "url": server.url}
        await desk.ask(desk.store.set_address, batch.number, where)
        yield server
    finally:
        await server.stop()


async def _listening(desk: Desk, batch: Batch, options: ServerOptions) -> Server:
    """A server at the port that was asked for, else at the batch's last one, else at any."""
    last = int((batch.address or {}).get("port", 0))
    if options.port == 0 and last:
        server = Server(_at(options, last), desk)
        try:
            await server.start()
        except ConfigurationError as error:
            event("port_taken", port=last, cause=str(error))
        else:
            return server
    server = Server(options, desk)
    await server.start()
    return server


def _at(options: ServerOptions, port: int) -> ServerOptions:
    return ServerOptions(options.host, port, options.public_url, options.results_folder)


async def _let_go(desk: Desk, owner: str) -> None:
    await desk.ask(desk.store.let_go, desk.batch, owner)
    await desk.close()


def this_process() -> str:
    """How this process is called as a batch's owner: machine and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def take_over(store: BatchStore, batch: Batch, owner: str) -> None:
    """Hold a batch; at once where its last owner was a process of this machine that lives no more.

    Raises:
        BatchInUse: it is another's.
    """
    try:
        store.hold(batch.number, owner)
    except BatchInUse as error:
        if not _is_gone(error.owner):
            raise
        store.hold(batch.number, owner, gone=error.owner)


def _is_gone(owner: str) -> bool:
    host, _, number = owner.rpartition(":")
    if host != socket.gethostname() or not number.isdigit():
        return False
    return ProcessIdentity.of(int(number)) is None

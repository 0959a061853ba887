"""The built-in ComfyUI engine: a server that behaves like ComfyUI 0.8.0 and needs neither a GPU nor a model file.

It is for development and tests. Its protocol is taken from recordings of ComfyUI; its pictures come from the small
procedural sampler in `comfypod.emulator.nodes`. ``/system_stats`` says ``comfypod_emulator: true``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from aiohttp import web

from comfypod.emulator.engine.catalog import FileCatalog
from comfypod.emulator.engine.catalog_routes import CatalogRoutes
from comfypod.emulator.engine.execution import PREVIEW_METHODS, Executor
from comfypod.emulator.engine.file_routes import FileRoutes
from comfypod.emulator.engine.files import Folders
from comfypod.emulator.engine.http import answer_refusals, refuse_foreign_origins
from comfypod.emulator.engine.information import features, system_stats
from comfypod.emulator.engine.prompt_routes import PromptRoutes
from comfypod.emulator.engine.queue import History, PromptQueue
from comfypod.emulator.engine.sockets import SocketHub
from comfypod.emulator.engine.striking import ExecutionFaults, boot
from comfypod.emulator.engine.wire_faults import FaultRoutes, RequestFaults
from comfypod.emulator.engine.worker import PromptWorker
from comfypod.emulator.faults import Fault, FaultPlan
from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeClass

logger = logging.getLogger(__name__)

DEFAULT_BODY_BYTES = 100 * 1024**2
SHUTDOWN_TIMEOUT_SECONDS = 5.0
GREETING = "This is the built-in engine of comfypod. It speaks ComfyUI's protocol and has no user interface.\n"


class ComfyUIEmulator:
    """One server. `start` it, use `url`, `stop` it; it cannot be started again.

    Files lie under ``base_directory``: ``input``, ``output``, ``temp`` (emptied at start and stop) and ``models``. The
    folders are made at start; a file that is put into one of the models' is offered by the loaders from then on.
    What ends ComfyUI's process ends the server: see `died`. ``faults`` can be added to while it runs.
    """

    def __init__(
        self,
        base_directory: Path,
        *,
        node_classes: Mapping[str, NodeClass] = NODE_CLASSES,
        models_file: Path | None = None,
        only_present_models: bool = False,
        input_directory: Path | None = None,
        output_directory: Path | None = None,
        temporary_directory: Path | None = None,
        arguments: Sequence[str] | None = None,
        preview_method: str = "none",
        maximum_body_bytes: int = DEFAULT_BODY_BYTES,
        faults: Iterable[Fault] = (),
        accept_faults: bool = False,
        own_process: bool = False,
    ) -> None:
        """Prepare a server.

        Args:
            base_directory: where its files lie; made if missing.
            node_classes: the node classes it offers, by name.
            models_file: a ``models.toml`` whose models it pretends to have.
            only_present_models: do not pretend; offer only the model files that exist.
            input_directory: where uploads lie, in place of ``input``.
            output_directory: where saved files go, in place of ``output``.
            temporary_directory: the folder whose subfolder ``temp`` takes the place of ``temp``.
            arguments: ``argv`` of ``/system_stats``; by default the process's own if the server has it for itself,
                else what ComfyUI's ``main.py`` would have been told.
            preview_method: the default for prompts that name none: none, auto, latent2rgb or taesd (all but the first
                mean the same here).
            maximum_body_bytes: larger requests get 413.
            faults: what goes wrong, and when.
            accept_faults: whether anybody who reaches the server may plan faults, at ``/emulator/faults``.
            own_process: whether the process exists for this server alone, so that a fault may end it.

        Raises:
            ValueError: there is no such preview method, ``models_file`` is not TOML, or a fault would end the process,
                which is not the server's own.
            TypeError: ``models_file`` has another structure than ``[[model]]`` tables.
            OSError: ``models_file`` cannot be read.
        """
        if preview_method not in PREVIEW_METHODS:
            raise ValueError(f"Preview method {preview_method!r} is none of {', '.join(PREVIEW_METHODS)}.")
        self._node_classes = node_classes
        self._features = features(maximum_body_bytes)
        self._folders = Folders.below(
            base_directory,
            input_directory=input_directory,
            output_directory=output_directory,
            temporary_directory=temporary_directory,
        )
        self._catalog = FileCatalog(self._folders, models_file, only_present_models=only_present_models)
        own_arguments = sys.argv if own_process else self._folders.as_arguments()
        self._arguments = own_arguments if arguments is None else arguments
        self.faults = FaultPlan(faults, own_process=own_process)
        self._accepts_faults = accept_faults
        self._history = History()
        self._hub = SocketHub(self._features, self._remaining, self._current_node, self._die, self.faults)
        self._queue = PromptQueue(self._history, self._hub.publish_status)
        striking = ExecutionFaults(self.faults, self._do_in_loop)
        self._executor = Executor(
            node_classes, self._catalog, self._folders, self._hub, preview_method=preview_method, faults=striking
        )
        self._worker = PromptWorker(self._queue, self._executor, striking)
        self._runner = web.AppRunner(
            self._application(maximum_body_bytes), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS
        )
        self._url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._died: asyncio.Future[BaseException] | None = None
        self._dying: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The base address, such as ``http://127.0.0.1:8188``; empty before `start`."""
        return self._url

    @property
    def died(self) -> asyncio.Future[BaseException]:
        """Done with the cause when something has happened that ends ComfyUI's process with a traceback and exit code 1.

        By then every connection is cut and new ones are refused. `stop` the server all the same.
        """
        if self._died is None:
            raise RuntimeError("The built-in engine was not started.")
        return self._died

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, and run what is submitted. Port 0 takes a free one.

        Raises:
            OSError: the port is taken, or the base directory cannot be written.
            SystemExit: a planned fault ends the process.
        """
        self._loop = asyncio.get_running_loop()
        self._died = self._loop.create_future()
        await boot(self.faults, self._folders.base)
        await asyncio.to_thread(self._folders.prepare)
        await asyncio.to_thread(self._catalog.prepare)
        await self._hub.start()
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self._hub.stop()
            await self._runner.cleanup()
            raise
        self._url = f"http://{host}:{self._runner.addresses[0][1]}"
        self._worker.start()
        logger.info("The built-in engine listens on %s", self._url)

    async def stop(self) -> None:
        """Interrupt what runs, close every connection and empty the temporary folder."""
        if self._dying is not None:
            await self._dying
        stopped = await asyncio.to_thread(self._worker.stop, SHUTDOWN_TIMEOUT_SECONDS)
        if not stopped:
            logger.warning("A node did not stop within %s s; its thread is left behind", SHUTDOWN_TIMEOUT_SECONDS)
        await self._hub.stop()
        await self._runner.cleanup()
        if self._dying is None:  # A process that ends unexpectedly leaves it behind; the next start empties it.
            await asyncio.to_thread(self._folders.remove_temporary)

    def _die(self, cause: BaseException) -> None:
        if self._dying is None:
            self._dying = asyncio.create_task(self._cut_everything(cause))

    async def _cut_everything(self, cause: BaseException) -> None:
        """Leave the network as a process that exits does: without a word."""
        logger.error("The built-in engine ends, as ComfyUI's process would: %r", cause)
        for site in self._runner.sites:
            await site.stop()
        connections = self._runner.server.connections if self._runner.server is not None else []
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()
        if not self.died.done():  # Whoever gave up waiting for it has cancelled it.
            self.died.set_result(cause)

    def _do_in_loop(self, action: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(action)

    def _remaining(self) -> int:
        return self._queue.remaining()

    def _current_node(self, client_id: str) -> str | None:
        return self._executor.current_node(client_id)

    def _application(self, maximum_body_bytes: int) -> web.Application:
        faults = RequestFaults(self.faults)
        application = web.Application(
            client_max_size=maximum_body_bytes,
            middlewares=[faults.at_request, refuse_foreign_origins, answer_refusals],
        )
        prompts = PromptRoutes(self._queue, self._history, self._executor)
        catalog = CatalogRoutes(self._node_classes, self._catalog, self._folders)
        routes = [*prompts.routes(), *FileRoutes(self._folders).routes(), *catalog.routes(), *self._routes()]
        application.add_routes([*routes, *catalog.internal_routes()])
        application.add_routes([web.route(route.method, f"/api{route.path}", route.handler) for route in routes])
        if self._accepts_faults:
            application.add_routes(FaultRoutes(self.faults).routes())
        # As ComfyUI's static route does, this makes an unknown GET a 404 and any other unknown method a 405.
        application.router.add_get("/{tail:.*}", _not_found)
        return application

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._greet),
            web.get("/ws", self._hub.serve),
            web.get("/system_stats", self._show_statistics),
            web.get("/features", self._show_features),
        ]

    async def _greet(self, _request: web.Request) -> web.Response:
        return web.Response(text=GREETING)

    async def _show_statistics(self, _request: web.Request) -> web.Response:
        return web.json_response(system_stats(self._arguments))

    async def _show_features(self, _request: web.Request) -> web.Response:
        return web.json_response(self._features)


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404, content_type="application/octet-stream")

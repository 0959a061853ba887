"""DBOS, as the master uses it: a queue in the store's own database, and workflows that somebody always works on.

What DBOS does here: a request and its workflow are written in one transaction; workflows are started in the order of
their turn, never more at once than the endpoints can use, of all masters together; what a process had when it died is
started again, by that process's successor or by another master; and of two that work on the same one, only one
counts.

What it does not do here: remember steps. The request's row says where it stands, in the words of its front ends, and a
second memory beside it could only disagree. So a workflow has no steps; started again it looks at the row.

Facts about DBOS 3.4, seen and measured: queues are registered after the launch; coroutines run on the event loop that
was running at the launch; one that is cancelled stays PENDING; a process takes up at its launch what is PENDING under
its own executor id, and nothing else; an application version that is not pinned strands what an older one left; it
sends nothing anywhere as long as it has no key of its Conductor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, WorkflowStatus

from comfypod.errors import StoreUnavailable
from comfypod.logs import event
from comfypod.master.documents import Request
from comfypod.master.store import Store
from comfypod.master.store.database import CACHED_STATEMENTS

APPLICATION: Final = "comfypod"
APPLICATION_VERSION: Final = "1"
"""Of what lies in DBOS's tables: a workflow's name and its arguments. Ours changes more often, and needs no new one."""
QUEUE: Final = "requests"
WORKFLOW: Final = "carry"
POLLING_SECONDS: Final = 0.2
RUNS_PER_WINDOW: Final = 800
WINDOW_SECONDS: Final = 10.0
"""RunPod's limit of /run is 1000 in 10 s, for all masters together; see `comfypod.cloud.pacer`."""
CONNECTIONS: Final = 5
THREADS: Final = 16
"""DBOS's default is no bound, and none of them ends: each moment of haste would leave some behind for good."""
KEPT_SECONDS: Final = 3600.0
SWEPT_AT_ONCE: Final = 1000
STRANDED_SECONDS: Final = 60.0
"""What was given to a process that does not work on it after so long, it never will."""
_STOPPING_PAUSE_SECONDS: Final = 0.05

Work = Callable[[str, int], Awaitable[None]]
"""Carries one run of a request, by its key, to its end."""


def open_store(url: str) -> Store:
    """The store, as front ends and masters open it: whatever is submitted is also queued.

    Raises:
        StoreOutdated: its tables are of another version.
        StoreUnavailable: the database does not answer.
        ConfigurationError: this is no address of a database.
    """
    return Store.open(url, enqueue=Enqueue(url))


def migrate(url: str) -> int:
    """Make or change the tables, ours and those of DBOS; the version that ours were of, 0 if there were none.

    Raises:
        StoreOutdated: they are newer than this program.
        StoreUnavailable, ConfigurationError: as `open_store`.
    """
    found = Store.migrate(url)
    _quieten()
    with _faults_as_ours():
        DBOS.migrate(_dbos_url(url))
    return found


class Enqueue:
    """Puts a request's workflow into the queue, within the transaction that writes the request."""

    def __init__(self, url: str) -> None:
        self._client = DBOSClient(
            system_database_url=_dbos_url(url), application_name=APPLICATION, lazy=True, retry_connection_errors=False
        )  # it connects to nothing: it writes over the store's connections

    def __call__(self, connection: sa.Connection, request: Request) -> None:
        """Queue the request's present run; it is there when the transaction is."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": request.workflow_id,
                "app_version": APPLICATION_VERSION,
                "priority": request.turn,
            },
            request.key,
            request.run,
        )


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How DBOS is run.

    Args:
        database_url: where the store is.
        name: of this master; it takes up what the last process of this name left.
        most_at_once: requests under way, of all masters together.
        kept_seconds: so long DBOS's rows of ended workflows stay, to be looked at when something went wrong.
    """

    database_url: str
    name: str
    most_at_once: int
    kept_seconds: float = KEPT_SECONDS


class Engine:
    """DBOS in this process. There can be only one."""

    def __init__(self, options: EngineOptions, work: Work) -> None:
        self._options = options
        self._work = work
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._is_handing_over = False

    async def start(self) -> None:
        """Take requests from now on, and first those that the last process of this name left."""
        _quieten()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": _dbos_url(self._options.database_url),
            "sys_db_pool_size": CONNECTIONS,
            "max_executor_threads": THREADS,
            "db_engine_kwargs": _engine_arguments(self._options.database_url),
            "application_version": APPLICATION_VERSION,
            "executor_id": self._options.name,
            "enable_otlp": False,
            "use_listen_notify": False,  # nobody waits for events of workflows
            "run_migrations": False,  # `migrate` did, under the operator's eyes
            "log_level": "WARNING",
        }
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        async def carry(key: str, run: int) -> None:
            await self._carry(key, run)

        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE,
            global_concurrency=self._options.most_at_once,
            limiter={"limit": RUNS_PER_WINDOW, "period": WINDOW_SECONDS},
            polling_interval_sec=POLLING_SECONDS,
            on_conflict="always_update",
        )

    @property
    def under_way(self) -> int:
        """How many requests this process works on."""
        return len(self._tasks)

    def hand_over(self) -> None:
        """Leave everything where it stands; call `stop` next, or after it while it still waits."""
        self._is_handing_over = True

    async def stop(self) -> None:
        """Take nothing new, and wait until what is under way has ended, or, after `hand_over`, was left.

        What is left stays PENDING in DBOS's tables: for this master's next start, or for another one.
        """
        destruction = asyncio.create_task(
            asyncio.to_thread(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=_FOREVER_SECONDS)
        )
        left: set[asyncio.Task[None]] = set()
        while not destruction.done():
            if self._is_handing_over:
                for task in self._tasks.keys() - left:  # each is told once: it may have something to save
                    left.add(task)
                    task.cancel()
            await asyncio.wait([destruction], timeout=_STOPPING_PAUSE_SECONDS)
        # DBOS had made its own threads those of this loop, and has ended them: leave others behind.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await destruction

    async def _carry(self, key: str, run: int) -> None:
        """The workflow. It returns when the run has ended, and raises nothing but a cancellation."""
        task = asyncio.current_task()
        if task is None or self._is_handing_over:
            raise asyncio.CancelledError
        self._tasks[task] = f"{key}-{run}"
        try:
            await self._work(key, run)
        finally:
            del self._tasks[task]

    async def executors(self) -> set[str]:
        """The names of the masters that DBOS believes to work on something. Raises `StoreUnavailable`."""
        return {item.executor_id for item in await self._pending() if item.executor_id is not None}

    async def adopt(self, names: Collection[str]) -> int:
        """Put back into the queue what these masters had; how much it was. One master at a time may do this.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        return await self._put_back([item for item in await self._pending() if item.executor_id in names])

    async def put_back_stranded(self) -> int:
        """Put back what DBOS gave this process and then could not start, as when the database went away in between.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        before = (datetime.now(UTC) - timedelta(seconds=STRANDED_SECONDS)).timestamp() * 1000
        return await self._put_back(
            [
                item
                for item in await self._pending()
                if item.executor_id == self._options.name
                and item.workflow_id not in self._tasks.values()
                and (item.dequeued_at or 0) < before
            ]
        )

    async def _put_back(self, pending: Collection[WorkflowStatus]) -> int:
        if pending:
            with _faults_as_ours():
                await DBOS.resume_workflows_async([item.workflow_id for item in pending], queue_name=QUEUE)
        return len(pending)

    async def sweep(self) -> None:
        """Remove DBOS's rows of workflows that ended a while ago. Raises `StoreUnavailable`."""
        before = datetime.now(UTC) - timedelta(seconds=self._options.kept_seconds)
        while True:
            with _faults_as_ours():
                ended = await DBOS.list_workflows_async(
                    status=["SUCCESS", "ERROR", "CANCELLED"],
                    completed_before=before.isoformat(),
                    limit=SWEPT_AT_ONCE,
                    load_input=False,
                    load_output=False,
                )
                await DBOS.delete_workflows_async([item.workflow_id for item in ended])
            if len(ended) < SWEPT_AT_ONCE:
                return

    async def _pending(self) -> list[WorkflowStatus]:
        with _faults_as_ours():
            return await DBOS.list_workflows_async(
                status="PENDING", queue_name=QUEUE, load_input=False, load_output=False
            )


_FOREVER_SECONDS: Final = 7 * 24 * 3600


@contextmanager
def _faults_as_ours() -> Iterator[None]:
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise StoreUnavailable(str(getattr(error, "orig", error)).partition("\n")[0]) from error


def _dbos_url(url: str) -> str:
    """The same database, as DBOS wants it named."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _engine_arguments(url: str) -> dict[str, object]:
    """How DBOS's own connections differ from its defaults: as the store's do, where it is SQLite.

    DBOS writes one statement for each length of a list; every connection would keep 128 of them.
    """
    if sa.make_url(url).get_backend_name() != "sqlite":
        return {}
    return {"pool_use_lifo": True, "connect_args": {"cached_statements": CACHED_STATEMENTS}}


_HANDED_OVER: Final = "Asyncio task cancelled"
"""It warns of each workflow that we leave where it stands; we cancel for no other reason."""


class _ToOurLog(logging.Handler):
    """What DBOS has to say, as events of ours. Its level is WARNING: how it starts and ends is not news."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it."""
        if record.getMessage().startswith(_HANDED_OVER):
            return
        cause = record.exc_info[1] if record.exc_info else None
        event("dbos", record.levelno, said=record.getMessage(), **({"cause": cause} if cause else {}))


def _quieten() -> None:
    """Have DBOS log through us. It adds a handler of its own where it finds none, once it is made."""
    logger = logging.getLogger("dbos")
    if not any(isinstance(handler, _ToOurLog) for handler in logger.handlers):
        logger.handlers[:] = [_ToOurLog()]
        logger.propagate = False
    logger.setLevel(logging.WARNING)

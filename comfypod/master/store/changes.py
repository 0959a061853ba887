"""What happens to a request.

Each change is one statement that says from which states, run and attempt it may come, so that a message that is late,
double or of an earlier life changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from comfypod.errors import RequestNotFound
from comfypod.master.documents import Outcome, Request
from comfypod.master.states import (
    CANCELLED,
    ENDED,
    QUEUED,
    RUNNING,
    SUBMITTED,
    SUBMITTING,
    WAITING,
    State,
    predecessors,
)
from comfypod.master.store.outbox import put
from comfypod.master.store.reading import SHOWN, read, to_request
from comfypod.master.store.schema import INPUTS, PREVIEWS, REQUESTS
from comfypod.master.store.section import Section
from comfypod.master.store.texts import MAXIMUM_ORIGIN_BYTES, check_size, storable
from comfypod.master.store.turns import advance_virtual_time

MAXIMUM_PREVIEW_BYTES: Final = 2**20
_NEXT_VERSION: Final = REQUESTS.c.version + 1
_IS_OPEN: Final = REQUESTS.c.ended_at.is_(None)
_MOMENT: Final = REQUESTS.c.started_at.type
_HAS_SECRETS: Final = INPUTS.c.secrets.is_not(None)


class Changes(Section):
    """What a master and a front end do to a request."""

    def begin_attempt(self, key: str, run: int, endpoint: str) -> int | None:
        """Before a job is posted: say that it will be.

        Returns:
            The number of this attempt. None: nothing is to be posted, for the request has ended, was replayed since,
            or is to be cancelled; look at it.
        """
        with self._database.write() as connection:
            advance_virtual_time(connection, key, run)
            statement = (
                sa.update(REQUESTS)
                .where(
                    REQUESTS.c.key == key,
                    REQUESTS.c.run == run,
                    REQUESTS.c.state.in_(predecessors(SUBMITTING)),
                    REQUESTS.c.cancel_requested_at.is_(None),
                )
                .values(
                    state=SUBMITTING,
                    attempt=REQUESTS.c.attempt + 1,
                    endpoint=endpoint,
                    job_id=None,
                    worker_id=None,
                    version=_NEXT_VERSION,
                )
            )
            attempt: int | None = connection.scalar(statement.returning(REQUESTS.c.attempt))
        return attempt

    def submitted(self, key: str, attempt: int, job_id: str) -> bool:
        """A job was posted; false if the request has gone on since, and this job is nobody's."""
        with self._database.write() as connection:
            return _change(connection, key, attempt, SUBMITTED, {"job_id": job_id[:200]})

    def progressed(
        self,
        key: str,
        attempt: int,
        state: State,
        progress: dict[str, Any] | None = None,
        worker_id: str | None = None,
    ) -> bool:
        """What a job's status says: SUBMITTED or RUNNING, with its progress and worker where it tells them.

        Its value never falls, also when another attempt begins at 0.

        Returns:
            False if the request has gone on since.
        """
        values: dict[str, Any] = {}
        if worker_id is not None:
            values["worker_id"] = worker_id[:200]
        if state == RUNNING:
            values["started_at"] = sa.func.coalesce(REQUESTS.c.started_at, sa.literal(self._clock(), _MOMENT))
        with self._database.write() as connection:
            if progress is not None:
                values["progress"] = _rising(connection, key, progress)
            return _change(connection, key, attempt, state, values)

    def waits(self, key: str, attempt: int, error: dict[str, Any]) -> bool:
        """An attempt came to nothing, and another follows after a pause; false if the request has gone on since."""
        with self._database.write() as connection:
            return _change(connection, key, attempt, WAITING, {"error": storable(error)})

    def finish(self, key: str, run: int, outcome: Outcome) -> bool:
        """End a request, and have everybody told, in one transaction.

        Returns:
            False if it had ended, or was replayed since: then nothing was changed.
        """
        with self._database.write() as connection:
            return self._finish(connection, key, run, outcome) is not None

    def cancel(self, key: str) -> Request:
        """Cancel a request: at once if it waits with us, else as soon as its master hears of it; none that has ended.

        Raises:
            RequestNotFound: there is none of this key.
        """
        with self._database.write() as connection:
            row = connection.execute(
                sa.select(REQUESTS.c.run, REQUESTS.c.state).where(REQUESTS.c.key == key).with_for_update()
            ).first()
            if row is None:
                raise RequestNotFound(key)
            if row.state == QUEUED:
                self._finish(connection, key, row.run, Outcome(state=CANCELLED))
            elif row.state not in ENDED:
                connection.execute(
                    sa.update(REQUESTS)
                    .where(REQUESTS.c.key == key, REQUESTS.c.cancel_requested_at.is_(None))
                    .values(cancel_requested_at=self._clock(), version=_NEXT_VERSION)
                )
            return read(connection, key)

    def set_origin(self, key: str, origin: dict[str, Any]) -> None:
        """Keep something else with a request; also with one that has ended. This is no change that versions tell.

        Raises:
            RequestNotFound: there is none of this key.
            InvalidRequest: it is too large.
        """
        check_size("The origin", origin, MAXIMUM_ORIGIN_BYTES)
        with self._database.write() as connection:
            changed = connection.execute(sa.update(REQUESTS).where(REQUESTS.c.key == key).values(origin=origin))
        if not changed.rowcount:
            raise RequestNotFound(key)

    def save_preview(self, key: str, content_type: str, data: bytes) -> bool:
        """Keep the newest preview; it goes when the request ends. False if it has, or if the preview is too large."""
        if len(data) > MAXIMUM_PREVIEW_BYTES:
            return False
        statement = self._insert(PREVIEWS).values(key=key, content_type=content_type[:100], data=data, number=1)
        newest = statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "content_type": statement.excluded.content_type,
                "data": statement.excluded.data,
                "number": PREVIEWS.c.number + 1,
            },
        )
        with self._database.write() as connection:
            is_open = sa.update(REQUESTS).where(REQUESTS.c.key == key, _IS_OPEN).values(version=_NEXT_VERSION)
            if not connection.execute(is_open).rowcount:
                return False
            connection.execute(newest)
            return True

    def hinted(self, key: str) -> bool:
        """Somebody says that the job of this request has ended; false if the request has, or is none."""
        statement = sa.update(REQUESTS).where(REQUESTS.c.key == key, _IS_OPEN).values(is_hinted=True)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def take_hint(self, key: str) -> bool:
        """Whether there was a hint; from now on there is none."""
        statement = sa.update(REQUESTS).where(REQUESTS.c.key == key, REQUESTS.c.is_hinted).values(is_hinted=False)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def _finish(self, connection: sa.Connection, key: str, run: int, outcome: Outcome) -> Request | None:
        now = self._clock()
        values: dict[str, Any] = {
            "state": outcome.state,
            "output": storable(outcome.output),
            "error": storable(outcome.error),
            "timings": outcome.timings,
            "ended_at": now,
            "is_hinted": False,
            "version": _NEXT_VERSION,
        }
        if outcome.worker_id is not None:
            values["worker_id"] = outcome.worker_id[:200]
        statement = sa.update(REQUESTS).where(REQUESTS.c.key == key, REQUESTS.c.run == run, _IS_OPEN).values(values)
        row = connection.execute(statement.returning(*SHOWN)).first()
        if row is None:
            return None
        request = to_request(row)
        connection.execute(sa.delete(PREVIEWS).where(PREVIEWS.c.key == key))
        connection.execute(sa.update(INPUTS).where(INPUTS.c.key == key, _HAS_SECRETS).values(secrets=None))
        put(connection, request, now)
        return request


def _change(connection: sa.Connection, key: str, attempt: int, state: State, values: dict[str, Any]) -> bool:
    """To a state from those before it, or to itself, if this attempt is still the last."""
    statement = (
        sa.update(REQUESTS)
        .where(
            REQUESTS.c.key == key, REQUESTS.c.attempt == attempt, REQUESTS.c.state.in_((*predecessors(state), state))
        )
        .values(state=state, version=_NEXT_VERSION, **values)
    )
    return bool(connection.execute(statement).rowcount)


def _rising(connection: sa.Connection, key: str, progress: dict[str, Any]) -> dict[str, Any]:
    """A progress without its preview, whose value is not below the last one's."""
    query = sa.select(REQUESTS.c.progress).where(REQUESTS.c.key == key).with_for_update()
    last = (connection.scalar(query) or {}).get("value")
    shown = {name: value for name, value in storable(progress).items() if name != "preview"}
    value = shown.get("value")
    if isinstance(last, int | float) and isinstance(value, int | float):
        shown["value"] = max(last, value)
    return shown

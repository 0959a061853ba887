"""A manifest that is the answer of a database to a SELECT: its columns are as a table's. Nothing is written there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from comfypod.batch.manifest.rows import Row
from comfypod.batch.manifest.table_rows import column_names
from comfypod.errors import InvalidManifest

CONNECT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 600
"""So long may Postgres take for all rows, and SQLite wait for a lock."""
BLOCK_ROWS: Final = 1000
_FORMS: Final = "a database is given as sqlite:///FILE or postgresql://…"


class DatabaseRows:
    """The rows that a SELECT answers with, as they come."""

    word = "row"

    def __init__(self, url: str, query: str | None) -> None:
        if not query or query.lstrip("( \n\t").partition(" ")[0].lower() not in {"select", "with"}:
            raise InvalidManifest(["A database needs a SELECT (--query) whose columns are the items' fields."])
        self.defaults: dict[str, Any] = {}
        parsed = _parsed(url)
        # psycopg would take a % for the beginning of a parameter (psycopg.org/psycopg3/docs, "Passing parameters").
        self._query = query.replace("%", "%%") if parsed.get_backend_name() == "postgresql" else query
        self._engine = _engine(parsed)
        self._shown = parsed.render_as_string(hide_password=True)

    def rows(self) -> Iterator[Row]:
        """Ask the database, and give its rows as they come."""
        try:
            with self._engine.connect() as connection:
                reading = connection.execution_options(stream_results=True, yield_per=BLOCK_ROWS)
                result = reading.exec_driver_sql(self._query)
                columns = column_names(list(result.keys()), self._shown)
                for number, values in enumerate(result, 1):
                    yield _row(number, columns, values)
        except DBAPIError as error:
            raise InvalidManifest([f"{self._shown}: {_first_line(error.orig or error)}."]) from error
        except SQLAlchemyError as error:
            raise InvalidManifest([f"{self._shown}: {_first_line(error)}."]) from error


def _parsed(text: str) -> sa.URL:
    try:
        return sa.make_url(text)
    except ArgumentError as error:
        raise InvalidManifest([f"The manifest cannot be read: {_FORMS}."]) from error


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite" and url.database and ":memory:" not in url.database:
        # https://www.sqlite.org/uri.html: a file that is only read, and not made where there is none.
        address = f"{Path(url.database).absolute().as_uri()}?mode=ro"
        arguments: Mapping[str, Any] = {"uri": True, "timeout": STATEMENT_SECONDS}
        read_only = sa.URL.create("sqlite", database=address, query={"uri": "true"})
        return sa.create_engine(read_only, poolclass=sa.NullPool, connect_args=arguments)
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            poolclass=sa.NullPool,
            execution_options={"postgresql_readonly": True},
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "comfypod",
                "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c default_transaction_read_only=on",
            },
        )
    raise InvalidManifest([f"The manifest cannot be read: {_FORMS}."])


def _row(number: int, columns: list[str], values: sa.Row[Any]) -> Row:
    fields: dict[str, Any] = {}
    for name, value in zip(columns, values, strict=True):
        if value is None or value == "":
            continue
        if isinstance(value, bytes | memoryview):
            return Row(number, {}, problem=f"{name}: holds bytes, not a text or a number")
        fields[name] = _plain(value)
    return Row(number, fields, is_table=True)


def _plain(value: Any) -> str | int | float:  # noqa: ANN401 (what a database has)
    """As JSON has it; moments and the like as texts."""
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return value if isinstance(value, str | int | float) else str(value)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300].rstrip(".") if lines else type(error).__name__

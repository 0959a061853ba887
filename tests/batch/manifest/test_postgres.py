"""A manifest that a Postgres answers with: as it comes, and without a way to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from comfypod.errors import InvalidManifest
from tests.batch.manifest.making import read
from tests.postgres_server import PostgresServer

ROWS = 2500


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with PostgresServer(syncs=False) as server:
        url = server.create_database()
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE counter")
            connection.exec_driver_sql("CREATE TABLE shop (sku int, text text, cfg numeric(4, 2), steps numeric)")
            connection.exec_driver_sql(
                "INSERT INTO shop SELECT n, 'fox 100%% ' || n, 2.5, 7 FROM generate_series(1, 2500) n"
            )
        engine.dispose()
        yield url


def test_rows_come_in_blocks_with_their_numbers(tmp_path: Path, database: str) -> None:
    query = "SELECT sku AS name, text AS prompt, cfg, steps FROM shop WHERE text LIKE 'fox %' ORDER BY sku"
    manifest = read(tmp_path, database, query=query)
    assert manifest.count == ROWS
    items = list(manifest.items())
    assert [item.name for item in items] == [str(number) for number in range(1, ROWS + 1)]
    given = items[0].job["parameters"]
    assert {name: given[name] for name in ("prompt", "cfg", "steps")} == {
        "prompt": "fox 100% 1",
        "cfg": 2.5,
        "steps": 7,
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("WITH gone AS (DELETE FROM shop RETURNING text) SELECT text AS prompt FROM gone", "data-modifying statements"),
        ("SELECT nextval('counter')::text AS prompt", "read-only transaction"),
    ],
)
def test_nothing_is_written(tmp_path: Path, database: str, query: str, said: str) -> None:
    with pytest.raises(InvalidManifest, match=said):
        read(tmp_path, database, query=query)
    assert read(tmp_path, database, query="SELECT text AS prompt FROM shop").count == ROWS

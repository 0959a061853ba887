"""``comfypod master migrate | replay``: what a desk does that also needs the engine's queue, which is slow to load."""

from __future__ import annotations

from comfypod.cli.printing import write_line
from comfypod.master.engine import migrate, open_store


def migrate_database(database: str) -> None:
    """Make or change the tables, and say what was done."""
    found = migrate(database)
    write_line(f"The tables are as they are to be; they were of version {found}." if found else "The tables were made.")


def replay_request(database: str, key: str) -> None:
    """Run a request again that failed or was cancelled."""
    store = open_store(database)
    try:
        request = store.replay(key)
    finally:
        store.close()
    write_line(f"{request.key} is {request.state}, for run {request.run}")

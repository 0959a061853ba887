"""Many threads and processes on one database; processes that die in the middle; a database that is full or gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.errors import ConfigurationError, QuotaExceeded, StoreOutdated, StoreUnavailable
from comfypod.master.documents import NewRequest, Outcome
from comfypod.master.quotas import Quota
from comfypod.master.store import Store, migrations
from comfypod.master.store.database import Database
from comfypod.master.store.schema import METADATA
from tests.postgres_server import PostgresServer

Ask = Callable[..., NewRequest]
Open = Callable[..., Store]
ROOT = Path(__file__).parents[2]
SECONDS = 30


@pytest.fixture
def process(store_url: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts one of ``store_processes``."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.master.store_processes", what, store_url]
        pipe = subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate(timeout=SECONDS)


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_processes_that_submit_the_same_make_one_request_of_it(
    process: Callable[[str], subprocess.Popen[str]], store: Store
) -> None:
    children = [process("submit") for _ in range(3)]
    assert [line_of(child) for child in children] == ["ready"] * 3
    answers = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        output, _ = child.communicate(timeout=SECONDS)
        answers += [line.split() for line in output.splitlines()]
    assert len(answers) == 120
    assert sum(int(is_new) for _, is_new in answers) == 40
    assert Counter(Counter(key for key, _ in answers).values()) == {3: 40}
    assert store.counts() == {"queued": 40}


def test_threads_do_not_disturb_each_other(store: Store, ask: Ask) -> None:
    """Submit, run and end requests, and tell of them, all at the same time."""
    store.set_quota("acme", Quota(weight=2))

    def live(number: int) -> None:
        key = store.submit(ask(str(number % 40), user=f"user {number % 5}", job_input={"prompt": "x"})).request.key
        store.begin_attempt(key, 1, "main")
        store.progressed(key, store.get(key).attempt, "running", {"value": 0.5})
        store.hinted(key)
        store.finish(key, 1, Outcome(state="succeeded"))
        for item in store.claim("webhook", f"sender {number}", 60, limit=3):
            store.delivered(item)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(live, range(120)))
    for item in store.claim("webhook", "last", 60, limit=100):
        store.delivered(item)
    assert store.counts() == {"succeeded": 40}
    assert store.outbox_counts() == {}
    told = [item.attempts for request in store.list(limit=100) for item in store.outbox(request.key)]
    assert told == [1] * 40, "each was taken by one sender"


def test_a_quota_holds_however_many_come_at_once(store: Store, ask: Ask) -> None:
    store.set_quota("acme", Quota(at_once=5))

    def submit(number: int) -> bool:
        try:
            return store.submit(ask(str(number))).is_new
        except QuotaExceeded:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(submit, range(40))) == 5


def test_one_of_many_holds_a_name_and_ends_a_request(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    at_once = threading.Barrier(8)

    def grab(number: int) -> tuple[bool, bool]:
        at_once.wait(SECONDS)
        return store.hold("name", str(number), 60), store.finish(key, 1, Outcome(state="succeeded"))

    with ThreadPoolExecutor(8) as pool:
        held, finished = zip(*pool.map(grab, range(8)), strict=True)
    assert (sum(held), sum(finished)) == (1, 1)
    assert len(store.outbox(key)) == 1


def test_replays_and_starts_do_not_wait_for_each_other_for_ever(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key

    def turn(number: int) -> None:
        run = store.get(key).run
        store.begin_attempt(key, run, "main")
        store.cancel(key)
        if store.finish(key, run, Outcome(state="failed")):
            store.replay(key)
        store.submit(ask(str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(turn, range(80)))
    assert store.get(key).run > 1


def test_who_dies_while_submitting_leaves_nothing(
    process: Callable[[str], subprocess.Popen[str]], open_store: Open, store: Store
) -> None:
    child = process("stop_while_submitting")
    assert line_of(child) == "there"
    assert store.find("acme", "1") is None
    child.kill()
    child.wait(SECONDS)
    with store.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            if "key" in table.c:
                assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_who_dies_while_finishing_has_not_finished(
    process: Callable[[str], subprocess.Popen[str]], store: Store, ask: Ask
) -> None:
    key = store.submit(ask("1")).request.key
    child = process("stop_while_finishing")
    assert line_of(child) == "there"
    child.kill()
    child.wait(SECONDS)
    assert store.get(key).state == "queued"
    assert store.outbox(key) == []
    assert store.finish(key, 1, Outcome(state="succeeded"))
    assert len(store.outbox(key)) == 1


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_and_leaves_nothing_half(
    process: Callable[[str], subprocess.Popen[str]], store_url: str, open_store: Open
) -> None:
    child = process("fill_the_disk")
    output, _ = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, output
    told, afterwards = output.splitlines()
    taken, sentence = told.split(" ", 1)
    assert int(taken) > 3
    assert sentence.startswith("The database of requests cannot be used: ")
    assert afterwards == "1", "with room again it goes on"
    store = open_store()
    assert store.counts() == {"queued": int(taken) + 1}
    assert all(store.job_input(request.key) for request in store.list(limit=500))


def test_a_server_that_is_gone_is_told_and_found_again(ask: Ask) -> None:
    with PostgresServer(syncs=False) as server:
        url = server.create_database()
        Store.migrate(url)
        store = Store.open(url)
        key = store.submit(ask()).request.key
        server.stop()
        for attempt in (lambda: store.get(key), lambda: store.submit(ask("2")), lambda: Store.open(url)):
            with pytest.raises(StoreUnavailable, match="cannot be used") as gone:
                attempt()
            assert gone.value.retryable
        server.start()
        assert store.get(key).state == "queued"
        assert store.submit(ask("2")).is_new
        store.close()


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Store.open(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        Store.migrate(f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}")


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://a/b", "/data/store.db"])
def test_what_is_no_address_of_a_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///FILE"):
        Store.open(url)


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(StoreUnavailable) as refused:
        Store.open("postgresql://ann:hidden@127.0.0.1:1/store")
    assert "hidden" not in str(refused.value) + repr(refused.value.__cause__)


def test_a_faults_message_has_nothing_of_what_was_written(store: Store, ask: Ask) -> None:
    key = store.submit(ask()).request.key
    with pytest.raises(sa.exc.IntegrityError) as refused, store.engine.begin() as connection:
        connection.execute(sa.insert(METADATA.tables["comfypod_inputs"]).values(key=key, job_input={"a": "a-token"}))
    assert "a-token" not in str(refused.value)


def test_tables_are_made_once_by_however_many(empty_url: str) -> None:
    with pytest.raises(StoreOutdated, match="comfypod master migrate") as missing:
        Store.open(empty_url)
    assert missing.value.found == 0
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(Store.migrate, [empty_url] * 4))
    assert sorted(found) == [0, 1, 1, 1]
    Store.open(empty_url).close()


def test_opening_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreOutdated):
        Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_its_owners_alone_and_readers_do_not_wait(tmp_path: Path, ask: Ask) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store.migrate(url)
    store = Store.open(url)
    key = store.submit(ask()).request.key
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    with store.engine.begin():  # somebody writes
        assert store.get(key).key == key
    store.close()


def test_an_older_database_is_brought_up_step_by_step(database_url: str, ask: Ask) -> None:
    database = Database(database_url)
    steps = {
        2: (
            "ALTER TABLE comfypod_requests ADD COLUMN colour TEXT",
            "CREATE INDEX colours ON comfypod_requests (colour)",
        ),
        3: ("UPDATE comfypod_requests SET colour = 'red'",),
    }
    store = Store.open(database_url)
    store.submit(ask())
    broken = {**steps, 3: ("UPDATE nothing_of_this_name SET colour = 'red'",)}
    with pytest.raises((sa.exc.ProgrammingError, StoreUnavailable)):
        migrations.migrate(database, broken)
    with database.read() as connection:
        assert migrations.version_of(connection) == 1, "all steps, or none"
    assert migrations.migrate(database, steps) == 1
    assert migrations.migrate(database, steps) == 3
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT colour FROM comfypod_requests")) == "red"
    with pytest.raises(StoreOutdated, match="newer than this program"):
        Store.open(database_url)
    with pytest.raises(StoreOutdated, match="newer than this program"):
        Store.migrate(database_url)
    store.close()
    database.close()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_every_query_of_a_hot_path_finds_its_index(store: Store) -> None:
    """SQLite tells how it would look, whatever the table's size; none that grows is read from end to end."""
    looks: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            raw = connection.connection.driver_connection.cursor()
            looks.extend(row[3] for row in raw.execute("EXPLAIN QUERY PLAN " + statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", explain)
    store.set_quota("acme", Quota(at_once=5, user_at_once=5, per_minute=5, per_day=5))
    new = NewRequest(tenant="acme", user="ann", idempotency_key="1", job_input={}, labels={"a": "b"})
    key = store.submit(new).request.key
    store.position(key)
    store.active("acme", "ann")
    store.oldest_queued_at()
    store.list(tenant="acme", labels={"a": "b"})
    store.list(states=["running"], before=key)
    store.signals([key])
    store.begin_attempt(key, 1, "main")
    store.finish(key, 1, Outcome(state="succeeded"))
    store.claim("webhook", "me", 30)
    store.dead_letters("webhook")
    scans = {look for look in looks if look.startswith("SCAN comfypod_") and " USING " not in look}
    assert len(looks) > 20
    assert scans <= {"SCAN comfypod_turnstile"}, scans

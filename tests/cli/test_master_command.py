"""What operators see of requests, and do with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.master.documents import NewRequest, Notification, Outcome
from comfypod.master.engine import migrate, open_store
from comfypod.master.store import Store
from tests.cli.conftest import CommandLine


@pytest.fixture
def desk(nowhere: CommandLine, tmp_path: Path) -> CommandLine:
    """Commands that find a database in their environment."""
    url = f"sqlite:///{tmp_path / 'requests.db'}"
    migrate(url)
    nowhere.environment["COMFYPOD_DATABASE_URL"] = url
    return nowhere


@pytest.fixture
def store(desk: CommandLine) -> Iterator[Store]:
    store = open_store(desk.environment["COMFYPOD_DATABASE_URL"])
    yield store
    store.close()


def submit(store: Store, name: str = "order-1") -> str:
    target = {"url": "https://acme.test/secret-path"}
    new = NewRequest(
        tenant="acme",
        user="ann",
        idempotency_key=name,
        job_input={"prompt": "a private fox"},
        origin={"token": "private-token"},
        notify=(Notification("webhook", target),),
    )
    return store.submit(new).request.key


def test_status_counts_requests_and_masters(desk: CommandLine, store: Store) -> None:
    submit(store)
    store.beat("m0", "1", 4711, "i")
    ended = desk("master", "status", "--json")
    (document,) = ended.events
    assert document["requests"] == {"queued": 1}
    assert [(item["name"], item["state"], item["pid"]) for item in document["masters"]] == [("m0", "alive", 4711)]
    text = desk("master", "status").stdout
    assert "1 queued" in text
    assert "4711" in text


def test_pending_lists_what_has_not_ended(desk: CommandLine, store: Store) -> None:
    first, second = submit(store), submit(store, "order-2")
    store.cancel(first)
    assert [item["key"] for item in desk("master", "pending", "--json").events] == [second]
    assert [item["key"] for item in desk("master", "pending", "--json", "--state", "cancelled").events] == [first]
    assert second in desk("master", "pending").stdout
    wrong = desk("master", "pending", "--state", "lost")
    assert (wrong.code, "waiting" in wrong.stderr) == (2, True)


def test_show_tells_all_but_what_is_private(desk: CommandLine, store: Store) -> None:
    key = submit(store)
    shown = desk("master", "show", key)
    assert shown.code == 0
    assert '"state": "queued"' in shown.stdout
    assert "private" not in shown.stdout
    assert "secret-path" not in shown.stdout
    missing = desk("master", "show", "0" * 32)
    assert missing.code != 0
    assert missing.stderr.startswith("request_not_found: ")


def test_cancel_and_replay(desk: CommandLine, store: Store) -> None:
    key = submit(store)
    assert desk("master", "cancel", key).stdout == f"{key} is cancelled\n"
    assert desk("master", "replay", key).stdout == f"{key} is queued, for run 2\n"
    again = desk("master", "replay", key)
    assert (again.code != 0, again.stderr.startswith("not_replayable: ")) == (True, True)


def test_drain_asks_the_masters(desk: CommandLine, store: Store) -> None:
    assert desk("master", "drain").code == 1
    store.beat("m0", "1", 4711, "i")
    assert desk("master", "drain", "m0").code == 0
    assert store.beat("m0", "1", 4711, "i") == "drain"


def test_keys_are_made_listed_and_revoked(desk: CommandLine, store: Store) -> None:
    made = desk("master", "keys", "add", "acme", "--per-minute", "10")
    secret = made.stdout.strip()
    tenant = store.tenant_of(secret)
    assert tenant is not None
    assert (tenant.name, tenant.quota.per_minute) == ("acme", 10)
    listed = desk("master", "keys", "list", "--json")
    assert secret not in listed.stdout
    (key,) = listed.events
    assert (key["tenant"], key["quota"]["per_minute"]) == ("acme", 10)
    assert desk("master", "keys", "revoke", key["id"]).code == 0
    assert store.tenant_of(secret) is None
    assert "revoked" in desk("master", "keys", "list").stdout


def test_dead_letters_are_listed_and_revived(desk: CommandLine, store: Store) -> None:
    key = submit(store)
    store.finish(key, 1, Outcome(state="failed", error={"code": "x", "message": "x"}))
    (item,) = store.claim("webhook", "sender", 60)
    store.give_up(item, "HTTP 410")
    (letter,) = desk("master", "dead", "list", "--json").events
    assert (letter["id"], letter["cause"]) == (item.identifier, "HTTP 410")
    assert "HTTP 410" in desk("master", "dead", "list").stdout
    assert desk("master", "dead", "revive", item.identifier).code == 0
    assert [again.identifier for again in store.claim("webhook", "sender", 60)] == [item.identifier]


def test_a_database_without_tables_is_told_how_to_get_them(nowhere: CommandLine, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    refused = nowhere("master", "status", "--database", url)
    assert refused.stderr.startswith("store_outdated: ")
    assert nowhere("master", "migrate", "--database", url).code == 0
    assert nowhere("master", "status", "--database", url).stdout.startswith("requests: none")


def test_run_says_what_is_missing(nowhere: CommandLine) -> None:
    without_bucket = nowhere("master", "run", "--endpoint", "ep", RUNPOD_API_KEY="key")
    assert (without_bucket.code, "BUCKET_ENDPOINT_URL" in without_bucket.stderr) == (2, True)

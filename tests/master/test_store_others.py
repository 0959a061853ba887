"""What else the store keeps: leases, masters, secrets, quarantines, tenants, assets; and how it forgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.errors import AccessKeyNotFound, InvalidRequest, RequestNotFound
from comfypod.master.documents import NewRequest, Outcome
from comfypod.master.quotas import Quota
from comfypod.master.records import Asset
from comfypod.master.store import Store
from comfypod.master.store.schema import METADATA

Ask = Callable[..., NewRequest]
Open = Callable[..., Store]


def test_one_holds_a_name_until_its_time_is_over(store: Store, clock: Any) -> None:
    assert store.hold("discord:1", "ann", 30)
    assert not store.hold("discord:1", "ben", 30)
    assert store.hold("discord:2", "ben", 30)
    clock.pass_by(seconds=20)
    assert store.hold("discord:1", "ann", 30), "held on"
    clock.pass_by(seconds=20)
    assert not store.hold("discord:1", "ben", 30)
    assert store.holder("discord:1") == "ann"
    clock.pass_by(seconds=10)
    assert store.holder("discord:1") is None
    assert store.hold("discord:1", "ben", 30)
    store.let_go("discord:1", "ann")  # who does not hold it any more
    assert store.holder("discord:1") == "ben"
    store.let_go("discord:1", "ben")
    assert store.hold("discord:1", "ann", 30)


def test_masters_are_alive_and_hear_what_is_wanted_of_them(store: Store, clock: Any) -> None:
    assert store.beat("m1", "1.0", 10, "first") is None
    began = clock()
    clock.pass_by(seconds=5)
    assert store.ask_masters("drain") == 1
    assert store.ask_masters("drain", name="m2") == 0
    assert store.beat("m1", "1.0", 10, "first") == "drain"
    (master,) = store.masters()
    assert (master.name, master.pid, master.wish) == ("m1", 10, "drain")
    assert (master.started_at, master.beat_at) == (began, clock())
    assert store.beat("m1", "1.1", 11, "second") is None, "what was wanted of the one before is not wanted of this one"
    assert store.masters()[0].started_at == clock()
    store.leave("m1", "first")
    assert len(store.masters()) == 1
    store.leave("m1", "second")
    assert store.masters() == []


def test_a_secret_is_drawn_once_for_all(open_store: Open) -> None:
    first, second = open_store(), open_store()
    secret = first.secret("webhooks")
    assert len(secret) == 32
    assert second.secret("webhooks") == first.secret("webhooks") == secret
    assert first.secret("other") != secret


def test_a_workflow_that_fails_everywhere_is_known(store: Store, clock: Any) -> None:
    assert store.failed_on("aa", "w1", "host") == 1
    assert store.failed_on("aa", "w1", "host") == 1
    assert store.failed_on("aa", "w1", "timeout") == 1
    assert store.failed_on("aa", "w2", "host") == 2
    assert store.failed_on("bb", "w1", "host") == 1
    assert store.failed_workflows("w1", timedelta(hours=1)) == 2
    assert store.quarantined("aa") is None
    store.quarantine("aa", "It failed on 3 workers.")
    store.quarantine("aa", "Something else.")
    assert store.quarantined("aa") == "It failed on 3 workers."
    assert store.quarantines() == {"aa": ("It failed on 3 workers.", clock())}
    assert store.lift("aa")
    assert not store.lift("aa")
    assert store.quarantined("aa") is None
    assert store.failed_on("aa", "w3", "host") == 1, "its failures are forgotten"
    clock.pass_by(hours=2)
    assert store.failed_workflows("w1", timedelta(hours=1)) == 0


def test_a_key_opens_for_its_tenant_until_it_is_revoked(store: Store, clock: Any) -> None:
    secret = store.add_key("acme", Quota(at_once=3))
    clock.pass_by(seconds=1)
    second = store.add_key("acme")
    tenant = store.tenant_of(secret)
    assert tenant == store.tenant_of(second) == store.tenant("acme")
    assert tenant is not None
    assert (tenant.name, tenant.quota, tenant.webhook_url) == ("acme", Quota(at_once=3), None)
    first, _ = store.keys("acme")
    assert secret.startswith(first.identifier)
    assert len(first.identifier) < 16
    store.revoke(first.identifier)
    assert store.tenant_of(secret) is None
    assert store.tenant_of(second) is not None
    assert store.keys()[0].revoked_at == clock()
    clock.pass_by(seconds=1)
    store.revoke(first.identifier)
    assert store.keys()[0].revoked_at != clock(), "revoked is revoked"
    with pytest.raises(AccessKeyNotFound):
        store.revoke("cp_nothing")


@pytest.mark.parametrize("wrong", ["", "cp_", "\x00", "\ud800", "' OR 1=1 --"])
def test_nothing_else_opens(store: Store, wrong: str) -> None:
    store.add_key("acme")
    assert store.tenant_of(wrong) is None


def test_a_secret_is_nowhere_in_the_database(store: Store) -> None:
    secret = store.add_key("acme")
    with store.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            for row in connection.execute(sa.select(table)):
                assert secret not in str(tuple(row))


def test_a_tenant_has_a_quota_without_a_key_and_an_address(store: Store) -> None:
    assert store.webhook_url("discord:1") is None
    store.set_quota("discord:1", Quota(per_day=5))
    store.set_webhook_url("discord:1", "https://acme.test/hook")
    assert store.webhook_url("discord:1") == "https://acme.test/hook"
    store.set_quota("discord:1", Quota(per_day=6))
    assert [(tenant.name, tenant.quota.per_day) for tenant in store.tenants()] == [("discord:1", 6)]
    store.set_webhook_url("discord:1", None)
    assert store.webhook_url("discord:1") is None
    assert store.keys("discord:1") == []
    with pytest.raises(InvalidRequest):
        store.add_key("a\nb")


def an_asset(clock: Any, identifier: str, **fields: Any) -> Asset:
    given = {"tenant": "acme", "hash": "blake3:00", "size_bytes": 2**40, "content_type": "image/png"}
    return Asset(**given | {"identifier": identifier, "bucket_key": "assets/1", "created_at": clock()} | fields)


def test_an_asset_is_its_tenants(store: Store, clock: Any) -> None:
    asset = an_asset(clock, "a1", tags=("🦊", "b"), file_path="in/fox.png")
    store.add_asset(asset)
    clock.pass_by(seconds=1)
    newer = an_asset(clock, "a2")
    store.add_asset(newer)
    assert store.asset("acme", "a1") == asset
    assert store.asset_by_hash("acme", "blake3:00") == newer
    assert store.asset("other", "a1") is store.asset_by_hash("other", "blake3:00") is None
    assert not store.delete_asset("other", "a1")
    assert store.delete_asset("acme", "a1")
    assert not store.delete_asset("acme", "a1")
    assert store.is_bucket_key_used("assets/1")
    assert store.delete_asset("acme", "a2")
    assert not store.is_bucket_key_used("assets/1")


def test_an_asset_expires(store: Store, clock: Any) -> None:
    asset = an_asset(clock, "a1", expires_at=clock() + timedelta(minutes=1))
    store.add_asset(asset)
    assert store.asset("acme", "a1") == asset
    assert store.expired_assets() == []
    clock.pass_by(minutes=1)
    assert store.asset("acme", "a1") is None
    assert store.asset_by_hash("acme", "blake3:00") is None
    assert store.expired_assets() == [asset]


def rows(store: Store) -> dict[str, int]:
    with store.engine.begin() as connection:
        counts = {
            table.name.removeprefix("comfypod_"): connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in METADATA.sorted_tables
        }
    return {name: number for name, number in counts.items() if number}


def test_what_ended_long_ago_goes_with_all_that_was_its(store: Store, ask: Ask, clock: Any) -> None:
    untouched = rows(store)
    store.hold("a", "b", 10)
    store.failed_on("aa", "w1", "host")
    for number in range(230):
        key = store.submit(ask(str(number), labels={"a": "b"})).request.key
        store.save_preview(key, "image/png", b"1")
        store.finish(key, 1, Outcome(state="succeeded"))
    while items := store.claim("webhook", "me", 30, limit=500):
        for item in items:
            store.delivered(item)
    clock.pass_by(days=2)
    assert store.prune(timedelta(days=3)) == 0
    assert store.prune(timedelta(days=1)) == 230
    assert rows(store) == untouched
    with pytest.raises(RequestNotFound):
        store.get(key)
    assert store.submit(ask("0")).is_new


def test_what_is_not_ended_or_not_told_stays(store: Store, ask: Ask, clock: Any) -> None:
    waiting = store.submit(ask("waiting")).request.key
    untold = store.submit(ask("untold")).request.key
    store.finish(untold, 1, Outcome(state="succeeded"))
    recent = store.submit(ask("recent")).request.key
    clock.pass_by(days=2)
    store.finish(recent, 1, Outcome(state="succeeded"))
    assert store.prune(timedelta(days=1)) == 0
    assert {request.key for request in store.list()} == {waiting, untold, recent}
    store.give_up(store.outbox(untold)[0], "the channel is gone")
    assert store.prune(timedelta(days=1)) == 1
    assert store.dead_letters() == []

"""What two requests have in common, and what of them is comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from comfypod.errors import ConfigurationError, InvalidRequest
from comfypod.master.documents import NewRequest, workflow_hash
from comfypod.master.keys import identifier_of, is_key, new_key, new_secret, secret_hash
from comfypod.master.quotas import Quota

WORKFLOW: dict[str, Any] = {"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "model": ["4", 0]}}}


def test_keys_are_in_the_order_of_time() -> None:
    now = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    keys = [new_key(now + timedelta(milliseconds=number)) for number in range(100)]
    assert keys == sorted(keys)
    assert all(is_key(key) for key in keys)
    assert len({new_key(now) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "a" * 31, "A" * 32, "g" * 32, "a" * 32 + "\n", "../" + "a" * 29])
def test_nothing_else_is_a_key(text: str) -> None:
    assert not is_key(text)


def test_secrets_are_told_apart_by_how_they_begin() -> None:
    secret = new_secret()
    assert secret.startswith("cp_")
    assert len(secret) > 40
    assert secret.startswith(identifier_of(secret))
    assert secret_hash(secret) == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ({"3": {**WORKFLOW["3"], "inputs": {**WORKFLOW["3"]["inputs"], "seed": 6}}}, True),
        ({"3": {**WORKFLOW["3"], "inputs": {**WORKFLOW["3"]["inputs"], "noise_seed": 6}}}, True),
        ({"3": {**WORKFLOW["3"], "inputs": {**WORKFLOW["3"]["inputs"], "steps": 21}}}, False),
        ({"3": {**WORKFLOW["3"], "class_type": "Other"}}, False),
    ],
)
def test_a_quarantine_goes_by_what_is_run_whatever_its_seed(changed: dict[str, Any], is_same: bool) -> None:
    assert (workflow_hash({"workflow": changed}) == workflow_hash({"workflow": WORKFLOW})) is is_same


def test_a_template_is_what_it_is_with_its_parameters() -> None:
    first = workflow_hash({"workflow": "portrait", "parameters": {"text": "a fox", "seed": 1}})
    assert first == workflow_hash({"workflow": "portrait", "parameters": {"text": "a fox", "3.seed": 2}})
    assert first != workflow_hash({"workflow": "portrait", "parameters": {"text": "an owl", "seed": 1}})


@pytest.mark.parametrize(
    ("fields", "is_same"),
    [
        ({"origin": {"token": "other"}, "notify": (), "trace_id": "1"}, True),
        ({"job_input": {"prompt": "a fox", "comfy_org_api_key": "other"}}, True),
        ({"job_input": {"prompt": "an owl"}}, False),
        ({"labels": {"a": "b"}}, False),
        ({"priority": "low"}, False),
        ({"timeout_seconds": 5.0}, False),
    ],
)
def test_the_same_content_is_what_was_asked_for(
    ask: Callable[..., NewRequest], fields: dict[str, Any], is_same: bool
) -> None:
    assert (ask(**fields).content_hash() == ask().content_hash()) is is_same


def test_a_workflow_that_is_too_deep_is_refused() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidRequest):
        workflow_hash({"workflow": deep})


def test_what_is_secret_is_in_no_representation(ask: Callable[..., NewRequest]) -> None:
    shown = repr(ask(origin={"token": "hidden-1"}, job_input={"prompt": "x", "comfy_org_api_key": "hidden-2"}))
    assert "hidden" not in shown
    assert "acme.test" not in shown


def test_a_quota_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="at_once"):
        Quota(at_once=0)
    assert Quota.from_json({**Quota(per_day=7).to_json(), "of_a_newer_version": 1}) == Quota(per_day=7)

"""The page names what there is."""

from __future__ import annotations

from pathlib import Path

from comfypod.batch.providers.orphans import Reason
from comfypod.emulator.pods.faults import POD_KINDS, ROUTES
from comfypod.emulator.pods.switches import PodSwitches

PAGE = (Path(__file__).parents[3] / "docs/reference/pod-providers.md").read_text(encoding="utf-8")


def test_every_switch_fault_and_reason_is_on_the_page() -> None:
    for name, values in PodSwitches.choices().items():
        assert f"| `{name}` | {', '.join(f'`{value}`' for value in values)} |" in PAGE
    for kind in POD_KINDS:
        assert f"| `{kind}` |" in PAGE
    for route in ROUTES:
        assert f"`{route}`" in PAGE
    for reason in Reason:
        assert f"`{reason.name.lower()}` |" in PAGE

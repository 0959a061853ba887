"""What does not change of a batch while it runs, kept in memory: its plan, and what its groups need. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from comfypod.batch.documents import GIGABYTE, Asset, Plan, PodPlan

TOOL_CHAIN_BYTES = 12 * GIGABYTE
"""Of a pod's disk, for ComfyUI and what it needs; facts 2.1 (V0)."""


@dataclass(frozen=True, slots=True)
class Book:
    """A batch's plan, and the files that each of its groups needs, by number, in the order of its loaders."""

    plan: Plan
    pods: Mapping[int, PodPlan]
    assets: Mapping[str, Asset]
    groups: Mapping[int, tuple[str, ...]]

    @classmethod
    def of(cls, plan: Plan, groups: Mapping[int, tuple[str, ...]]) -> Book:
        """Of a plan."""
        return cls(plan, {pod.number: pod for pod in plan.pods}, {asset.key: asset for asset in plan.assets}, groups)

    def missing(self, group: int, present: Collection[str]) -> tuple[str, ...]:
        """Files of a group that are still to come; those in the image need not."""
        return tuple(key for key in self.groups[group] if key not in present and self._is_fetched(key))

    def _is_fetched(self, key: str) -> bool:
        asset = self.assets.get(key)
        return asset is not None and not asset.comes_with_image

    def bytes_of(self, keys: Collection[str]) -> int:
        """Of these files together."""
        return sum(self.assets[key].size_bytes for key in keys if key in self.assets)

    def fits(self, pod_number: int, present: Collection[str], missing: Collection[str]) -> bool:
        """Whether a pod has room for more files, within the payload cap and the disk that was rented."""
        pod = self.pods[pod_number]
        payload = self.bytes_of({*present, *pod.downloads, *missing})
        return payload <= min(self.plan.payload_cap_bytes, pod.disk_bytes - TOOL_CHAIN_BYTES)

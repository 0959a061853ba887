"""What all jobs of a worker share."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.node_packs import NodePacks
from comfypod.settings import Settings
from comfypod.storage.commits import Commits
from comfypod.storage.models.manifest import ModelManifest
from comfypod.worker.once import Once
from comfypod.worker.outside import Outside
from comfypod.worker.surroundings import KnownSurroundings
from comfypod.worker.sweeping import Sweeper


@dataclass(frozen=True, slots=True)
class Facilities:
    """Settings, templates, the packs of ``nodes.toml``, the ways outside, what is known of ComfyUI and of jobs."""

    settings: Settings
    templates_folder: Path
    packs: NodePacks
    outside: Outside
    surroundings: KnownSurroundings
    sweeper: Sweeper
    once: Once

    @classmethod
    def of_repository(cls, root: Path, settings: Settings, environment: Mapping[str, str]) -> Facilities:
        """Those of the repository at ``root``; ``environment`` has the tokens that ``models.toml`` names.

        Raises:
            ConfigurationError: a file or a setting is not valid.
        """
        models = root / "models.toml"
        manifest = ModelManifest.from_file(models) if models.exists() else ModelManifest()
        outside = Outside(settings, manifest, environment)
        commits = Commits(outside.bucket) if outside.bucket is not None else None
        worker_id = environment.get("RUNPOD_POD_ID") or platform.node()
        return cls(
            settings,
            root / "workflows",
            NodePacks.load(root / "custom_nodes" / "nodes.toml"),
            outside,
            KnownSurroundings(),
            Sweeper(Path(settings.volume_output_directory)),
            Once(commits, worker_id, settings.once_lease_seconds),
        )

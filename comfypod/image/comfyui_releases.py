"""Which ComfyUI there is to be had: its releases, and the version of any commit."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.checkout import checkout_version
from comfypod.errors import SourceFetchFailed
from comfypod.image.git import fetch_tree, find_commit, list_tags

_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")


@dataclass(frozen=True, slots=True)
class Release:
    """A version of ComfyUI, and the commit that it is at."""

    version: str
    commit: str


def newest_release(repository: str) -> Release:
    """The release with the highest number: tags are ``vX.Y.Z``.

    Raises:
        SourceFetchFailed: the repository cannot be reached, or has no releases.
    """
    tags = list_tags(repository)
    releases = [name for name in tags if _RELEASE.fullmatch(name)]
    if not releases:
        raise SourceFetchFailed(repository, "it has no release (a tag such as v0.33.0)")
    newest = max(releases, key=version_number)
    return Release(newest.removeprefix("v"), tags[newest])


def find_release(repository: str, wanted: str) -> Release:
    """The release ``wanted`` (``0.33.0`` or ``v0.33.0``), or the version at a branch, a tag or a commit.

    What is no release is fetched, since only its files say which version it is.

    Raises:
        SourceFetchFailed: the repository cannot be reached, has no such thing, or what it has is no ComfyUI.
    """
    tag = f"v{wanted.removeprefix('v')}"
    if _RELEASE.fullmatch(tag):
        return Release(tag.removeprefix("v"), find_commit(repository, tag))
    if _ABBREVIATED.fullmatch(wanted):
        raise SourceFetchFailed(repository, f"{wanted!r} is too short: name a commit by all of its 40 digits")
    commit = find_commit(repository, wanted)
    with tempfile.TemporaryDirectory(prefix="comfypod-comfyui-") as folder:
        tree = Path(folder, "tree")
        fetch_tree(repository, commit, tree)
        version = checkout_version(tree)
    if version is None:
        raise SourceFetchFailed(repository, f"what it has at {wanted} is no ComfyUI: it has no comfyui_version.py")
    return Release(version, commit)


def version_number(version: str) -> tuple[int, ...]:
    """What versions are compared by: their numbers."""
    return tuple(map(int, re.findall(r"\d+", version)))

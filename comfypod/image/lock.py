"""``image/requirements.txt``: the image's Python packages but for torch's, resolved together and pinned with hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.node_packs import NodePacks
from comfypod.image.layout import Layout
from comfypod.image.requirements import package_of
from comfypod.image.resolver import Package, Question, Target, resolve
from comfypod.image.sources import Source, all_sources, torch_set
from comfypod.image.text_files import replace_text

_HEAD = """\
# The image's Python packages, resolved together and pinned. Those of image/torch, and what only they need, are left
# out: install with --no-deps, after them. Made by `comfypod nodes lock`; do not edit. What it was made from:
"""
_LABEL = re.compile(r"^#   (\S.*)$", re.MULTILINE)
_TARGET = re.compile(r"Python (\S+) on (\S+)")
_PIN = re.compile(r"^(\S+)==(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Locked:
    """What `lock` did: how many packages there are, and which moved ("name 1.0 -> 2.0", "name 1.0 added" …)."""

    path: Path
    packages: int
    changes: Sequence[str]


def lock(layout: Layout, target: Target, *, upgrade: bool, output: Path | None = None) -> Locked:
    """Write the file; what it pins already stays unless it cannot, or ``upgrade``.

    Raises:
        RequirementsConflict: there is no such set of packages; it says whose requirements exclude each other.
        SourceFetchFailed: a pack, ComfyUI or the index of packages cannot be reached.
        ConfigurationError: a file of the repository, or what a pack requires, cannot be taken; or there is no uv.
    """
    path = output or layout.lock
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    sources = all_sources(layout)
    required = {source.name: list(source.read()) for source in sources}
    builds = [name for pack in NodePacks.load(layout.nodes_toml).pack for name in pack.build_from_source]
    former = [] if upgrade else [f"{name}=={version}\n" for name, version in _PIN.findall(before)]
    packages = resolve(Question(required, target, "".join(former), builds))
    torch_packages = {package_of(line) for line in required[torch_set(layout).name]}
    kept = without(torch_packages, packages, [source.name for source in sources[:-1]])
    after = _HEAD + "".join(f"#   {label}\n" for label in _labels(sources, target)) + "".join(map(_entry, kept))
    replace_text(path, after)
    return Locked(path, len(kept), _changes(before, after))


def without(left_out: set[str], packages: Sequence[Package], roots: Iterable[str]) -> list[Package]:
    """The packages that the roots need, through whatever they need, but for those left out and what only these need."""
    needed = set(roots)
    kept: list[Package] = []
    while True:
        more = [
            package
            for package in packages
            if package not in kept and package.name not in left_out and needed.intersection(package.required_by)
        ]
        if not more:
            return sorted(kept, key=lambda package: package.name)
        kept += more
        needed.update(package.name for package in more)


def outdated(layout: Layout) -> list[str]:
    """Why the file has to be made again, in sentences; none if it is what `lock` would make of the same packages.

    Nothing is fetched for it.

    Raises:
        ConfigurationError: a file of the repository, or what a vendored pack requires, cannot be taken.
    """
    if not layout.lock.exists():
        return [f"{layout.lock} is not there: comfypod nodes lock."]
    text = layout.lock.read_text(encoding="utf-8")
    match = _TARGET.search(text)
    if match is None:
        return [f"{layout.lock} does not say what it was made from: comfypod nodes lock."]
    was = set(_LABEL.findall(text))
    now = set(_labels(all_sources(layout), Target(match[1], match[2])))
    changed = sorted(now - was) + [f"{label} (no more)" for label in sorted(was - now)]
    if not changed:
        return []
    shown = re.sub(r"(sha256:.{10})[0-9a-f]*", r"\1…", "; ".join(changed))
    return [f"{layout.lock} was made before this changed: {shown}. Make it again: comfypod nodes lock."]


def _labels(sources: Sequence[Source], target: Target) -> list[str]:
    return [*(source.label for source in sources), f"Python {target.python} on {target.platform}"]


def _entry(package: Package) -> str:
    hashes = "".join(f" \\\n    --hash={digest}" for digest in sorted(package.hashes))
    return f"{package.pin}{hashes}\n    # for {', '.join(sorted(package.required_by))}\n"


def _changes(before: str, after: str) -> list[str]:
    old, new = dict(_PIN.findall(before)), dict(_PIN.findall(after))
    moved = [f"{name} {old[name]} -> {new[name]}" for name in new if name in old and old[name] != new[name]]
    added = [f"{name} {new[name]} added" for name in new if name not in old]
    return moved + added + [f"{name} {old[name]} removed" for name in old if name not in new]

"""``comfypod nodes add | vendor | lock | check | install``: what the image has of custom nodes, and what they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json, print_line, print_text
from comfypod.comfyui.node_packs import NodePacks
from comfypod.image.installation import Installed, install_pack, install_requirements
from comfypod.image.layout import Layout
from comfypod.image.lock import lock
from comfypod.image.pack_check import check_packs
from comfypod.image.packs import Wishes, add_pack, vendor_pack
from comfypod.image.resolver import Target
from comfypod.schema.wire import listed

_HERE = Layout(Path())


def add_command(repository: str, wishes: Wishes, *, vendor: bool) -> int:
    """Pin a pack in the list.

    Raises:
        SourceFetchFailed, ConfigurationError: as `add_pack` and `vendor_pack`.
    """
    added = add_pack(_HERE, repository, wishes)
    pack, former = added.pack, added.former_commit
    moved = f"moved from {former[:10]} to" if former else "pinned at"
    print_line(pack.name, f"{moved} {str(pack.commit)[:10]}; classes: {listed(pack.classes) or 'none'}", "bold")
    for remark in added.remarks:
        write_error(f"{pack.name}: {remark}")
    if vendor:
        print_text(str(vendor_pack(_HERE, pack.name, force=False)))
    elif former and pack.vendored:
        write_error(f"{pack.name}: its files are still the former ones: comfypod nodes vendor {pack.name}")
    write_error("What it requires is not pinned yet: comfypod nodes lock")
    return ExitCode.SUCCESS


def vendor_command(name: str, *, force: bool) -> int:
    """Put a pack's files into this repository; prints the folder.

    Raises:
        SourceFetchFailed, ConfigurationError: as `vendor_pack`.
    """
    print_text(str(vendor_pack(_HERE, name, force=force)))
    return ExitCode.SUCCESS


def lock_command(target: Target, output: Path | None, *, upgrade: bool) -> int:
    """Pin all packages; prints what moved.

    Raises:
        RequirementsConflict, SourceFetchFailed, ConfigurationError: as `lock`.
    """
    locked = lock(_HERE, target, upgrade=upgrade, output=output)
    for change in locked.changes:
        print_text(change)
    write_error(f"{locked.path}: {locked.packages} packages, {len(locked.changes) or 'no'} changes")
    return ExitCode.SUCCESS


def check_command(comfyui_url: str | None, *, as_json: bool) -> int:
    """Say whether everything fits.

    Raises:
        ConfigurationError: ``nodes.toml`` or the address is not valid.
        ComfyUIUnavailable, ProtocolViolation: the ComfyUI at ``comfyui_url`` does not answer as one.
    """
    classes = None
    if comfyui_url is not None:
        from comfypod.cli.node_catalogue import find_node_source  # noqa: PLC0415 (it takes the emulator's libraries)

        classes = find_node_source(comfyui_url, Path("models.toml")).catalogue.object_info.keys()
    found = check_packs(_HERE, classes)
    if as_json:
        print_json({"problems": found.problems, "notes": found.notes})
        return ExitCode.FAILURE if found.problems else ExitCode.SUCCESS
    for note in found.notes:
        print_line("note", note)
    for problem in found.problems:
        print_line("problem", problem, "bold red")
    if not found.problems:
        print_text(f"{_HERE.nodes_toml} and what belongs to it fit each other.")
    return ExitCode.FAILURE if found.problems else ExitCode.SUCCESS


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """Where packs go to, and their ``requirements``, if they are wished; ``force``: over what was changed there."""

    directory: Path
    python: Path | None
    requirements: bool
    force: bool


def install_command(names: Sequence[str], options: InstallOptions) -> int:
    """Install packs; prints what was done with each.

    Raises:
        RequirementsConflict, SourceFetchFailed, ConfigurationError: as `install_pack` and `install_requirements`.
    """
    packs = NodePacks.load(_HERE.nodes_toml)
    chosen = [packs.named(name) for name in names] or packs.pack
    installed: list[Installed] = []
    for pack in chosen:
        one = install_pack(_HERE, pack, options.directory, force=options.force)
        print_line(pack.name, f"{one.did} ({one.folder})")
        for remark in one.remarks:
            write_error(f"{pack.name}: {remark}")
        installed.append(one)
    if options.requirements:
        for line in install_requirements(_HERE, installed, options.python):
            print_text(f"required: {line}")
    return ExitCode.SUCCESS

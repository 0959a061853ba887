"""The Python packages of a developer's ComfyUI, in a virtual environment of its own, ``ComfyUI/.venv``: by pip."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.errors import ConfigurationError, SourceFetchFailed

INSTALL_SECONDS = 2 * 3600.0
"""Torch with CUDA has 7 GB."""
RECORD_FILE = ".comfypod-packages"
"""In the environment: what its packages were installed from, as `PackagePlan.fingerprint`; half of it until all are."""

_SOURCE = "the packages of ComfyUI"
_CUDA_ONLY = ("xformers",)
_PIP_FLAGS = ("--disable-pip-version-check", "--no-input")


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """What is installed: torch, and then what ComfyUI requires, held to the versions of the image's torch.

    Args:
        checkout: the installed ComfyUI.
        torch: the image's folder ``image/torch``.
        cuda: the image's own set; else torch, torchvision and torchaudio of the same versions, without xformers.
        torch_index: where these three come from, in place of pip's own index.
    """

    checkout: Path
    torch: Path
    cuda: bool
    torch_index: str | None = None

    @property
    def environment(self) -> Path:
        """The virtual environment."""
        return self.checkout / ".venv"

    def steps(self) -> list[list[str]]:
        """The arguments of ``pip install``, one list for each call."""
        pins = self.torch / "cu128.in"
        torch = ["--requirement", str(self.torch / "cu128.txt")] if self.cuda else list(_torch_for_cpu(pins))
        index = ["--index-url", self.torch_index] if self.torch_index else []
        requirements = ["--requirement", str(self.checkout / "requirements.txt"), "--constraint", str(pins)]
        return [[*index, *torch], requirements]

    def fingerprint(self) -> list[str]:
        """Two digests: of what asks for another environment when it changes, and of all that is installed from."""
        kind = hashlib.sha256(repr((self.cuda, self.torch_index, sys.version_info[:2])).encode())
        all_of_it = kind.copy()
        for path in (self.torch / "cu128.in", self.torch / "cu128.txt", self.checkout / "requirements.txt"):
            all_of_it.update(path.read_bytes())
        return [kind.hexdigest(), all_of_it.hexdigest()]


def install_packages(plan: PackagePlan) -> bool:
    """Make the environment and install what the plan says; False if that is there already.

    An interrupted installation is gone on with. What pip says goes to stderr.

    Raises:
        ConfigurationError: the environment is a developer's own.
        SourceFetchFailed: pip failed, or a file cannot be read or written.
    """
    environment, record = plan.environment, plan.environment / RECORD_FILE
    try:
        if environment.exists() and not record.exists():
            raise ConfigurationError([f"{environment} was not made by comfypod. Remove it, or use --no-packages."])
        done = record.read_text(encoding="ascii").split() if record.exists() else []
        wanted = plan.fingerprint()
        if done == wanted:
            return False
        if done[:1] != wanted[:1]:  # pip would take torch for CUDA to be that for the CPU: their versions are the same
            shutil.rmtree(environment, ignore_errors=True)
            environment.mkdir()
        record.write_text(wanted[0], encoding="ascii")
        if not (environment / "bin" / "pip").exists():  # which comes last
            _run([sys.executable, "-m", "venv", str(environment)])
        for step in plan.steps():
            _run([str(environment / "bin" / "python"), "-m", "pip", "install", *_PIP_FLAGS, *step])
        record.write_text(" ".join(wanted), encoding="ascii")
    except OSError as error:
        raise SourceFetchFailed(_SOURCE, f"{error.filename}: {error.strerror}") from error
    return True


def _torch_for_cpu(pins: Path) -> Iterator[str]:
    lines = pins.read_text(encoding="utf-8").splitlines()
    return (line for line in lines if "==" in line and not line.startswith(_CUDA_ONLY))


def _run(command: Sequence[str]) -> None:
    try:
        # Without input: an index that wants a password is refused instead of waited for.
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=2, timeout=INSTALL_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise SourceFetchFailed(_SOURCE, f"pip did not end within {INSTALL_SECONDS:g} s; call it again") from error
    except subprocess.CalledProcessError as error:
        what = "the virtual environment could not be made" if "venv" in command else "pip could not install them"
        raise SourceFetchFailed(_SOURCE, f"{what} (exit code {error.returncode}); its own words stand above") from error

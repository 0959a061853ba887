"""Source trees by commit, from git repositories anywhere: git itself does the work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from comfypod.errors import SourceFetchFailed

FETCH_SECONDS = 600.0
ASK_SECONDS = 60.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SETTLED = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "GIT_LFS_SKIP_SMUDGE": "1"}
"""A repository that wants a password is refused at once, instead of a question that nobody answers; and a tree is the
same on every machine, whether or not Git LFS is installed there."""
_ACCESS = ("GIT_SSH", "GIT_SSL_", "GIT_CONFIG_GLOBAL")
"""Of git's variables, these say how to reach others; the rest speaks of a repository that this may be called in."""
_CONFIGURED = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "maintenance.auto=false", "-c", "gc.auto=0")
"""Line ends are those of the repository; and nothing goes on behind our back in a folder that is removed."""


def is_commit(text: str) -> bool:
    """Whether this is a whole commit id: 40 lower-case hexadecimal digits."""
    return _COMMIT.fullmatch(text) is not None


def find_commit(repository: str, reference: str = "HEAD") -> str:
    """The commit that a branch, tag or HEAD of the repository stands for now; of a commit, itself.

    Raises:
        SourceFetchFailed: the repository cannot be reached, or has no such reference.
    """
    if is_commit(reference):
        return reference
    # The name after ^{} is that of the commit which an annotated tag points to.
    names = [reference] if reference == "HEAD" else [f"refs/tags/{reference}", f"refs/heads/{reference}"]
    answer = _git("ls-remote", "--", repository, *names, *(f"{name}^{{}}" for name in names), source=repository)
    commits = {name: commit for commit, _, name in (line.partition("\t") for line in answer.splitlines())}
    for name in names:
        if found := commits.get(f"{name}^{{}}") or commits.get(name):
            return found
    raise SourceFetchFailed(repository, f"it has no branch or tag {reference!r}")


def list_tags(repository: str) -> dict[str, str]:
    """Every tag of the repository with its commit.

    Raises:
        SourceFetchFailed: the repository cannot be reached.
    """
    answer = _git("ls-remote", "--tags", "--", repository, source=repository)
    lines = (line.partition("\trefs/tags/") for line in answer.splitlines())
    # An annotated tag's own id comes first, the commit's with ^{} after it.
    return {name.removesuffix("^{}"): commit for commit, _, name in lines}


def fetch_tree(repository: str, commit: str, folder: Path) -> None:
    """Put the files of a commit, without its history, into ``folder``, which must not exist or be empty.

    The folder appears only when it is whole.

    Raises:
        SourceFetchFailed: the repository cannot be reached, has no such commit, or the files cannot be written.
    """
    if not is_commit(commit):
        raise SourceFetchFailed(repository, f"{commit!r} is not a commit id of 40 hexadecimal digits")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            tree = Path(work, "tree")
            _checkout(repository, commit, tree)
            shutil.rmtree(tree / ".git")
            tree.replace(folder)
    except OSError as error:
        raise SourceFetchFailed(repository, f"{folder} cannot be written ({error.strerror or error})") from error


def _checkout(repository: str, commit: str, tree: Path) -> None:
    _git("init", "--quiet", str(tree), source=repository)
    _git("-C", str(tree), "fetch", "--quiet", "--depth", "1", "--", repository, commit, source=repository)
    _git("-C", str(tree), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit, source=repository)


def _git(*arguments: str, source: str) -> str:
    seconds = ASK_SECONDS if arguments[0] == "ls-remote" else FETCH_SECONDS
    try:
        code, output, words = run_to_end(["git", *_CONFIGURED, *arguments], seconds)
    except FileNotFoundError as error:
        raise SourceFetchFailed(source, "git is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFetchFailed(source, f"git did not end within {seconds:g} s") from error
    if code:
        raise SourceFetchFailed(source, _reason(words))
    return output


def run_to_end(command: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; the command and all that it starts are a session of their own, and end together.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        FileNotFoundError: there is no such command.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    access = {name: value for name, value in os.environ.items() if name.startswith(_ACCESS)}
    with subprocess.Popen(  # noqa: S603 (arguments after `--` are no options)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=inherited | access | _SETTLED,
        start_new_session=True,
    ) as process:
        try:
            output, words = process.communicate(timeout=seconds)
        except BaseException:
            with suppress(ProcessLookupError):  # git's helpers too: they would wait for their server for ever
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output, words


def _reason(text: str) -> str:
    """What git names first as fatal; what follows is only its consequence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = (line.partition("fatal: ")[2] for line in lines if "fatal: " in line)
    return next(fatal, lines[-1] if lines else "git failed without a word").rstrip(".")

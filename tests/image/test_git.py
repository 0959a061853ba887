"""Source trees by commit, from repositories that the tests make."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from comfypod.errors import SourceFetchFailed
from comfypod.image.git import fetch_tree, find_commit, list_tags, run_to_end
from tests.image.git_repositories import GitRepository


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "source")


def test_any_commit_comes_without_its_history(repository: GitRepository, tmp_path: Path) -> None:
    first = repository.commit({"a.py": "one", "folder/b.py": "two"})
    second = repository.commit({"a.py": "changed"})
    for commit, text in ((first, "one"), (second, "changed")):
        fetch_tree(repository.address, commit, tmp_path / commit)
        files = {str(path.relative_to(tmp_path / commit)) for path in (tmp_path / commit).rglob("*") if path.is_file()}
        assert files == {"a.py", "folder/b.py"}
        assert (tmp_path / commit / "a.py").read_text() == text


def test_names_lead_to_commits(repository: GitRepository) -> None:
    first = repository.commit({"a.py": "one"})
    repository.tag("v1.0.0")  # an annotated tag: an object of its own, that points to the commit
    second = repository.commit({"a.py": "two"})
    assert find_commit(repository.address, "v1.0.0") == first
    assert find_commit(repository.address, "main") == find_commit(repository.address) == second
    assert find_commit(repository.address, first) == first
    assert list_tags(repository.address) == {"v1.0.0": first}


@pytest.mark.parametrize("name", ["v9", "ma", "--upload-pack=touch x", "refs/heads/main/../main"])
def test_a_name_that_is_not_there_is_told(repository: GitRepository, name: str) -> None:
    repository.commit({"a.py": "one"})
    with pytest.raises(SourceFetchFailed, match="it has no branch or tag"):
        find_commit(repository.address, name)


@pytest.mark.parametrize(
    ("commit", "cause"), [("0" * 40, "not our ref"), ("main", "not a commit id"), ("--all", "not a commit id")]
)
def test_a_commit_that_is_not_there_leaves_nothing(
    repository: GitRepository, tmp_path: Path, commit: str, cause: str
) -> None:
    repository.commit({"a.py": "one"})
    with pytest.raises(SourceFetchFailed, match=cause):
        fetch_tree(repository.address, commit, tmp_path / "target" / "tree")
    assert list((tmp_path / "target").glob("*") if (tmp_path / "target").exists() else []) == []


@pytest.mark.parametrize("address", ["--upload-pack=touch hacked", "ext::sh -c touch% hacked", "no/such/folder"])
def test_an_address_runs_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    for ask in (lambda: find_commit(address), lambda: fetch_tree(address, "0" * 40, tmp_path / "tree")):
        with pytest.raises(SourceFetchFailed):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_a_tree_is_the_same_whatever_this_machines_git_is_told(
    repository: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit({"a.sh": "one\ntwo\n"})
    (tmp_path / "told").write_text("[core]\nautocrlf = true\neol = crlf\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "told"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of git's
    fetch_tree(repository.address, commit, tmp_path / "tree")
    assert (tmp_path / "tree" / "a.sh").read_bytes() == b"one\ntwo\n"


def test_a_server_is_reached_as_this_machines_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", f"echo asked > {tmp_path}/ssh; false")
    with pytest.raises(SourceFetchFailed):
        find_commit("ssh://git@localhost/x")
    assert (tmp_path / "ssh").read_text() == "asked\n"


def test_a_deadline_ends_also_what_git_has_started(tmp_path: Path) -> None:
    """Git speaks to a server through a program of its own, which would wait for a silent one for ever."""
    script = f"sleep 300 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        run_to_end(["sh", "-c", script], 0.5)
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    until = time.monotonic() + 5
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":  # Z: its end is noted, no more
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_folder_that_cannot_be_written_is_told(repository: GitRepository, tmp_path: Path) -> None:
    commit = repository.commit({"a.py": "one"})
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceFetchFailed, match="cannot be written"):
        fetch_tree(repository.address, commit, tmp_path / "file" / "tree")

"""Source trees by commit, from repositories that the tests make."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.errors import SourceFetchFailed
from comfypod.image.git import fetch_tree, find_commit, list_tags
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


def test_a_folder_that_cannot_be_written_is_told(repository: GitRepository, tmp_path: Path) -> None:
    commit = repository.commit({"a.py": "one"})
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceFetchFailed, match="cannot be written"):
        fetch_tree(repository.address, commit, tmp_path / "file" / "tree")

"""The Dockerfile keeps its promises, and each rule notices when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.dockerfile_rules import RULES, Rule, context_filter
from tests.image.dockerfile_text import Dockerfile
from tests.image.git_repositories import GitRepository

ROOT = Path(__file__).parents[2]

GOOD = """\
ARG BASE=example.org/cuda:12.8.1-base
FROM example.org/cuda:12.8.1-devel AS compiler
RUN apt-get update && apt-get install --yes gcc python3-dev
FROM ${BASE} AS runtime
ENV PIP_NO_CACHE_DIR=1
ARG MIRROR=""
COPY --from=compiler /built /built
COPY packages.txt sources/ /app/
RUN pip install --require-hashes --requirement /app/packages.txt && pip install "uv==0.13.8"
RUN git init . && git fetch --depth 1 "${MIRROR}" "$(pinned commit)" && git checkout FETCH_HEAD
LABEL org.opencontainers.image.title="t" org.opencontainers.image.description="d" \\
      org.opencontainers.image.licenses="MIT" org.opencontainers.image.version="1"
CMD ["/app/start.sh"]
"""

# What is put before the CMD of the good one, and what the problem must name.
BAD = {
    "copied_files_are_there": [
        ("COPY packages.txt missing.txt /app/", "missing.txt"),
        ("COPY ignored.txt /app/", "ignored.txt"),
        ("COPY built /app/", "built"),
    ],
    "arguments_have_defaults": [("ARG VERSION", "VERSION")],
    "images_are_pinned": [
        ("FROM ubuntu AS other", "ubuntu"),
        ("FROM example.org:5000/ubuntu:latest AS other", "latest"),
        ("COPY --from=ghcr.io/astral-sh/uv /uv /bin/", "astral-sh/uv"),
        ("RUN --mount=type=bind,from=alpine,target=/a true", "alpine"),
    ],
    "packages_are_pinned": [
        ("RUN pip install torch", "torch"),
        ("RUN python -m pip install --no-deps 'torch>=2'", "torch"),
        ("RUN cd /x && uv pip install -r ComfyUI/requirements.txt", "ComfyUI/requirements.txt"),
        ("RUN pip install -r loose.txt", "numpy"),
        ("RUN pip install -e .", "editable"),
        ("RUN pip install git+https://example.org/x", "git+https"),
    ],
    "secrets_are_no_arguments": [('ARG HF_TOKEN=""', "HF_TOKEN"), ("ENV A=1 S3_SECRET_KEY=x", "S3_SECRET_KEY")],
    "nothing_is_piped_to_a_shell": [
        ("RUN curl -LsSf https://example.org/install.sh | sh", "piped to sh"),
        ("RUN wget -qO- https://example.org/i | env A=1 bash -s", "piped to bash"),
        ('RUN bash -c "$(curl -fsSL https://example.org/i)"', "downloaded"),
    ],
    "nothing_is_added_from_the_network": [("ADD https://example.org/model /m", "ADD")],
    "older_builders_can_build_it": [
        ("COPY --link packages.txt /x/", "--link"),
        ("RUN <<EOF\ntrue\nEOF", "heredoc"),
        ("RUN cat <<'X' > /f\nx\nX", "heredoc"),
    ],
    "repositories_are_fetched_by_commit": [
        ("RUN git clone --depth 1 https://example.org/x", "git clone"),
        ("RUN git fetch origin main", "main"),
        ("RUN git checkout v1.2", "v1.2"),
    ],
    "commits_are_told_once": [(f"ARG COMFYUI_COMMIT={'0a' * 20}", "0a0a")],
    "the_image_starts_the_script": [("FROM scratch AS last", "CMD"), ("ENTRYPOINT /app/x.sh", "ENTRYPOINT")],
    "the_image_is_labelled": [("FROM scratch AS last", "org.opencontainers.image.title")],
    "the_image_has_no_ssh_server": [
        ("RUN apt-get install --yes openssh-server", "openssh-server"),
        ("RUN ssh-keygen -A", "key"),
    ],
    "the_image_has_no_compiler": [
        ("RUN apt-get install --yes --no-install-recommends curl gcc-13", "gcc-13"),
        ("RUN apt-get install --yes python3.12-dev", "python3.12-dev"),
        ("FROM example.org/cuda:12.8.1-devel AS last", "devel"),
    ],
    "caches_are_not_kept": [("RUN uv pip install numpy==2.4.6", "UV_NO_CACHE")],
}


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return Dockerfile.parse(ROOT / "Dockerfile")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A folder that the good Dockerfile can be built from."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "built").mkdir()
    (tmp_path / "sources/a.py").touch()
    (tmp_path / "built/a.o").touch()
    (tmp_path / "ignored.txt").touch()
    (tmp_path / "packages.txt").write_text("numpy==2.4.6 \\\n    --hash=sha256:00\n# a comment\n")
    (tmp_path / "loose.txt").write_text("numpy>=2\n")
    (tmp_path / ".dockerignore").write_text("ignored.txt\n")
    (tmp_path / ".gitignore").write_text("built/\n")
    return tmp_path


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_dockerfile_keeps_to(rule: Rule, dockerfile: Dockerfile) -> None:
    assert list(rule(dockerfile)) == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_good_one_is_found_good_by(rule: Rule, context: Path) -> None:
    (context / "Dockerfile").write_text(GOOD)
    assert list(rule(Dockerfile.parse(context / "Dockerfile"))) == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_bad_one_is_noticed_by(rule: Rule, context: Path) -> None:
    for line, named_in_the_problem in BAD[rule.__name__]:
        bad = GOOD + line if line.endswith("AS last") else GOOD.replace("LABEL", f"{line}\nLABEL")
        (context / "Dockerfile").write_text(bad)
        problems = list(rule(Dockerfile.parse(context / "Dockerfile")))
        assert any(named_in_the_problem in problem for problem in problems), (line, problems)


def test_the_builder_gets_what_the_image_needs_and_nothing_of_the_developers() -> None:
    ignored = context_filter(ROOT)
    for name in ("start.sh", "comfypod/__init__.py", "ComfyUI/comfyui.toml", "custom_nodes/nodes.toml", "image/uv.txt"):
        assert not ignored.match_file(name), name
    private = [
        ".git/config",
        "custom_nodes/mine/.git/config",
        "build/image/trixie.tar",
        ".venv/bin/python",
        ".env",
        ".comfypod/jobs.sqlite",
        "outputs/a.png",
        "tests/conftest.py",
    ]
    for name in [*private, "ComfyUI/main.py", "ComfyUI/models/checkpoints/a.safetensors", "comfypod/__pycache__/a.pyc"]:
        assert ignored.match_file(name), name


def fetch_comfyui(dockerfile: Dockerfile, pin: str, folder: Path, mirror: str = "") -> int:
    """Run the step that fetches it as it stands in the Dockerfile; its exit code."""
    step = next(item for item in dockerfile.runs if "git fetch" in item.text)
    (folder / "comfyui.toml").write_text(pin)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COMFYUI_REPOSITORY": mirror}
    command = ["bash", "-o", "pipefail", "-c", step.values[0]]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("written", ['commit = "{}"', "commit='{}' # as tagged"])
def test_the_image_gets_the_comfyui_that_is_pinned(dockerfile: Dockerfile, tmp_path: Path, written: str) -> None:
    """However the file is written, as long as it is TOML; also from a mirror."""
    upstream = GitRepository(tmp_path / "upstream")
    commit = upstream.commit({"main.py": "pinned = True\n"})
    upstream.commit({"main.py": "newer = True\n"})
    for name, repository, mirror in (("one", upstream.address, ""), ("two", "/nowhere", upstream.address)):
        (tmp_path / name).mkdir()
        pin = f'repository = "{repository}"\n{written.format(commit)}\n'
        assert fetch_comfyui(dockerfile, pin, tmp_path / name, mirror) == 0
        assert (tmp_path / name / "main.py").read_text() == "pinned = True\n"
        assert not (tmp_path / name / ".git").exists()


@pytest.mark.parametrize("commit", ["", "main", "HEAD"])
def test_the_image_gets_no_comfyui_that_is_not_pinned(dockerfile: Dockerfile, tmp_path: Path, commit: str) -> None:
    """Git takes no commit for HEAD, and fetches a branch as readily."""
    upstream = GitRepository(tmp_path / "upstream")
    upstream.commit({"main.py": ""})
    (tmp_path / "image").mkdir()
    pin = f'repository = "{upstream.address}"\ncommit = "{commit}"\n'
    assert fetch_comfyui(dockerfile, pin, tmp_path / "image") != 0
    assert not (tmp_path / "image/main.py").exists()


def test_what_the_image_starts_can_be_started() -> None:
    for name in ("start.sh", "image/comfypod"):
        assert os.access(ROOT / name, os.X_OK), name

"""What the Dockerfile must keep to; each rule is a function that yields its violations as sentences.

hadolint looks after the common mistakes (`test_lint.py`); these are the promises of this image: reproducible, lean,
built by RunPod without arguments or secrets, and by buildah 1.28, which knows neither heredocs nor ``COPY --link``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pathspec

from tests.image.dockerfile_text import VARIABLE, Dockerfile, Instruction, ShellCommand

SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "python", "python3", "perl", "ruby", "node"}
SECRET = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
COMPILER = re.compile(
    r"^(gcc|g\+\+|clang|cc|make|cmake|ninja-build|build-essential|rustc|cargo|golang|cuda-(nvcc|toolkit|compiler).*)(-[\d.]+)?$"
    r"|-(dev|devel)$"
)
SSH_SERVERS = {"openssh-server", "dropbear", "ssh", "task-ssh-server"}
LABELS = {f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version")}
PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[^\]]*\])?==[^\s;*]+")
OPTIONS_WITH_A_VALUE = {"--constraint", "-c", "--index-url", "-i", "--python", "-p", "--only-binary", "--no-binary"}
OPTIONS_WITH_A_VALUE |= {"--find-links", "-f", "--target", "-t", "--prefix", "--cache-dir"}
COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")

Rule = Callable[[Dockerfile], Iterator[str]]


def copied_files_are_there(dockerfile: Dockerfile) -> Iterator[str]:
    """Every source of a COPY is in the repository and reaches the builder."""
    ignored = context_filter(dockerfile.folder)
    for item in dockerfile.instructions:
        if item.name == "COPY" and not _flag(item, "--from"):
            for source in item.values[:-1]:
                found = sorted(dockerfile.folder.glob(source.strip("/") or "*"))
                if not any(_reaches_the_builder(path, dockerfile.folder, ignored) for path in found):
                    yield f"line {item.line}: {source} is not in the repository, or git or .dockerignore leaves it out"


def arguments_have_defaults(dockerfile: Dockerfile) -> Iterator[str]:
    """RunPod's builder passes none; an optional one has an empty default."""
    for item in dockerfile.instructions:
        if item.name == "ARG":
            for value in item.values:
                if "=" not in value and value not in dockerfile.arguments:
                    yield f"line {item.line}: ARG {value} has no default"


def images_are_pinned(dockerfile: Dockerfile) -> Iterator[str]:
    """Bases, and whatever files are taken from, are stages of this file or images with a version."""
    known = {"scratch", *(stage.name for stage in dockerfile.stages)}
    for stage in dockerfile.stages:
        if stage.base not in known and not _is_pinned_image(stage.base):
            yield f"line {stage.line}: {stage.base} is not pinned to a version"
    for item in dockerfile.instructions:
        mounts = (part for flag in item.flags if flag.startswith("--mount=") for part in flag.split(","))
        mounted = [part.removeprefix("from=") for part in mounts if part.startswith("from=")]
        for source in filter(None, [_flag(item, "--from"), *mounted]):
            if source not in known and not source.isdigit() and not _is_pinned_image(source):
                yield f"line {item.line}: {source} is not pinned to a version"


def packages_are_pinned(dockerfile: Dockerfile) -> Iterator[str]:
    """What pip or uv installs is NAME==VERSION, or stands in a file of the repository where every line is."""
    for item, command in _commands(dockerfile):
        for position in range(1, len(command.words)):
            if command.words[position] == "install" and Path(command.words[position - 1]).name.startswith("pip"):
                for problem in _unpinned(list(command.words[position + 1 :]), dockerfile.folder):
                    yield f"line {item.line}: {problem}"


def secrets_are_no_arguments(dockerfile: Dockerfile) -> Iterator[str]:
    """An ARG or ENV stays in the image's history."""
    for item in dockerfile.instructions:
        if item.name in {"ARG", "ENV"}:
            names = item.values[::2] if item.name == "ENV" else [value.partition("=")[0] for value in item.values]
            yield from (f"line {item.line}: {name} names a secret" for name in names if SECRET.search(name))


def nothing_is_piped_to_a_shell(dockerfile: Dockerfile) -> Iterator[str]:
    """A program from the network is pinned and looked at before it runs."""
    for item, command in _commands(dockerfile):
        programs = {Path(word).name for word in command.words if not word.startswith("-")}
        if command.operator.startswith("|") and SHELLS & programs and command.operator != "||":
            yield f"line {item.line}: something is piped to {', '.join(sorted(SHELLS & programs))}"
    for item in dockerfile.runs:
        if re.search(r"(\$|<)\(\s*(curl|wget)|`\s*(curl|wget)", item.text):
            yield f"line {item.line}: what was downloaded is run"


def nothing_is_added_from_the_network(dockerfile: Dockerfile) -> Iterator[str]:
    for item in dockerfile.instructions:
        if item.name == "ADD" and any(re.search(r"://|^git@|\.git(#|$)", source) for source in item.values[:-1]):
            yield f"line {item.line}: ADD from the network has no checksum"


def older_builders_can_build_it(dockerfile: Dockerfile) -> Iterator[str]:
    """Neither heredocs nor ``--link``: buildah 1.28 has none."""
    for item in dockerfile.instructions:
        if item.heredocs or (item.name == "RUN" and re.search(r"(?<!<)<<(?!<)", item.text)):
            yield f"line {item.line}: a heredoc"
        if any(flag.startswith("--link") for flag in item.flags):
            yield f"line {item.line}: --link"


def repositories_are_fetched_by_commit(dockerfile: Dockerfile) -> Iterator[str]:
    for item, command in _commands(dockerfile):
        words = command.words
        if command.program != "git" or len(words) < 2:
            continue
        if words[1] in {"clone", "pull", "submodule"}:
            yield f"line {item.line}: git {words[1]} takes whatever is there; fetch a commit"
        elif words[1] == "fetch" and not re.search(r"commit", words[-1], re.IGNORECASE):
            yield f"line {item.line}: git fetch of {words[-1]}, which is no commit"
        elif words[1] == "checkout" and not re.search(r"commit|^FETCH_HEAD$", words[-1], re.IGNORECASE):
            yield f"line {item.line}: git checkout of {words[-1]}, which is no commit"


def commits_are_told_once(dockerfile: Dockerfile) -> Iterator[str]:
    """ComfyUI's stands in ComfyUI/comfyui.toml, the node packs' in custom_nodes/nodes.toml."""
    yield from (f"the commit {commit} stands in the Dockerfile" for commit in COMMIT.findall(dockerfile.text))


def the_image_starts_the_script(dockerfile: Dockerfile) -> Iterator[str]:
    """Without a shell around it, which would keep SIGTERM to itself."""
    items = [item for stage in dockerfile.image for item in stage.instructions]
    starts = [item for item in items if item.name == "CMD"]
    if not starts or not starts[-1].is_exec_form or Path(starts[-1].values[0]).name != "start.sh":
        yield 'the image\'s CMD is not ["…/start.sh"]'
    for item in items:
        if item.name == "ENTRYPOINT" and not item.is_exec_form:
            yield f"line {item.line}: ENTRYPOINT has a shell around it"


def the_image_is_labelled(dockerfile: Dockerfile) -> Iterator[str]:
    items = [item for stage in dockerfile.image for item in stage.instructions if item.name == "LABEL"]
    names = {name for item in items for name in item.pairs}
    yield from (f"the image has no label {name}" for name in sorted(LABELS - names))


def the_image_has_no_ssh_server(dockerfile: Dockerfile) -> Iterator[str]:
    """Its host keys would be the same for all who use the image."""
    for item, package in _packages(dockerfile):
        if package in SSH_SERVERS:
            yield f"line {item.line}: {package} is installed"
    for item in dockerfile.runs:
        if "ssh-keygen" in item.text:
            yield f"line {item.line}: a key is made that everybody gets"


def the_image_has_no_compiler(dockerfile: Dockerfile) -> Iterator[str]:
    """What has to be compiled is compiled in a stage that the image does not consist of."""
    for item, package in _packages(dockerfile):
        if COMPILER.search(package):
            yield f"line {item.line}: {package} is installed into the image"
    if "-devel" in dockerfile.image[0].base:
        yield f"line {dockerfile.image[0].line}: {dockerfile.image[0].base} is a base with compilers"


def caches_are_not_kept(dockerfile: Dockerfile) -> Iterator[str]:
    """pip and uv are told to keep none, or theirs is mounted."""
    environment: set[str] = set()
    for stage in dockerfile.image:
        for item in stage.instructions:
            environment |= set(item.pairs) if item.name == "ENV" else set()
            mounted = any("type=cache" in flag for flag in item.flags)
            for words in [command.words for command in item.commands] if item.name == "RUN" and not mounted else []:
                for program, variable in (("uv", "UV_NO_CACHE"), ("pip", "PIP_NO_CACHE_DIR")):
                    told = variable in environment or any(word.startswith("--no-cache") for word in words)
                    if words[0] == program and "install" in words and not told:
                        yield f"line {item.line}: {program} keeps a cache in the image; set {variable}"


RULES: tuple[Rule, ...] = (
    copied_files_are_there,
    arguments_have_defaults,
    images_are_pinned,
    packages_are_pinned,
    secrets_are_no_arguments,
    nothing_is_piped_to_a_shell,
    nothing_is_added_from_the_network,
    older_builders_can_build_it,
    repositories_are_fetched_by_commit,
    commits_are_told_once,
    the_image_starts_the_script,
    the_image_is_labelled,
    the_image_has_no_ssh_server,
    the_image_has_no_compiler,
    caches_are_not_kept,
)


def context_filter(folder: Path) -> pathspec.GitIgnoreSpec:
    """What ``.dockerignore`` leaves out: patterns as git's, but all of them from the context's root."""
    return _patterns(folder / ".dockerignore", anchored=True)


def _patterns(path: Path, *, anchored: bool) -> pathspec.GitIgnoreSpec:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if anchored:
        lines = [f"!/{line[1:].lstrip('/')}" if line.startswith("!") else f"/{line.lstrip('/')}" for line in lines]
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _reaches_the_builder(path: Path, folder: Path, ignored: pathspec.GitIgnoreSpec) -> bool:
    """Whether a file, or one in a folder, is sent to a builder that cloned the repository."""
    uncommitted = _patterns(folder / ".gitignore", anchored=False)
    files = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    names = (file.relative_to(folder).as_posix() for file in files)
    return any(not ignored.match_file(name) and not uncommitted.match_file(name) for name in names)


def _flag(item: Instruction, name: str) -> str:
    return next((flag.partition("=")[2] for flag in item.flags if flag.partition("=")[0] == name), "")


def _is_pinned_image(image: str) -> bool:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return bool(digest) or (bool(re.search(r"\d", tag)) and not tag.startswith("latest"))


def _commands(dockerfile: Dockerfile) -> Iterator[tuple[Instruction, ShellCommand]]:
    for item in dockerfile.runs:
        yield from ((item, command) for command in item.commands)


def _packages(dockerfile: Dockerfile) -> Iterator[tuple[Instruction, str]]:
    """Debian packages that stages of the image install."""
    for stage in dockerfile.image:
        for item in stage.instructions:
            for command in item.commands if item.name == "RUN" else []:
                words = list(command.words)
                if {"apt-get", "apt"} & set(words) and "install" in words:
                    names = words[words.index("install") + 1 :]
                    yield from ((item, name.partition("=")[0]) for name in names if not name.startswith("-"))


def _unpinned(words: list[str], folder: Path) -> Iterator[str]:
    """The problems of what follows ``pip install``."""
    while words:
        name, has_value, value = words.pop(0).partition("=")
        if name in {"-r", "--requirement", "--requirements"}:
            yield from _unpinned_lines(value if has_value else words.pop(0), folder)
        elif name in OPTIONS_WITH_A_VALUE and not has_value:
            words.pop(0)
        elif name in {"-e", "--editable"}:
            yield "an editable install"
        elif not name.startswith("-") and not PINNED.fullmatch(name + has_value + value):
            yield f"{name} is installed without a version"


def _unpinned_lines(file: str, folder: Path) -> Iterator[str]:
    """The problems of a requirements file, named as in the image; what a variable stands for may be anything."""
    pattern = VARIABLE.sub("*", file).removeprefix("/app/")
    found = sorted(folder.glob(pattern)) if not pattern.startswith("/") else []
    if not found:
        yield f"{file} is not a file of the repository, so nobody knows what is in it"
    for path in found:
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#") and not PINNED.match(line):
                yield f"{path.name}: {line.strip()} is not pinned"

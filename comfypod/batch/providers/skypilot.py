"""The same run as SkyPilot tasks, for those who rent through an existing multi-cloud engine.

A provider like the others, but that it rents nothing: it writes a task file for each pod that is wanted, which
somebody launches: ``sky jobs launch --secret COMFYPOD_BATCH_TOKEN NAME.yaml``. From then on SkyPilot finds a machine,
and another one after an interruption; the pod says hello to the coordinator like any other. Fields as in
docs.skypilot.co, "SkyPilot YAML", and ``sky/utils/schemas.py`` (2026).
"""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from comfypod.batch.documents import GIGABYTE, Offer, Pod, PodWish
from comfypod.batch.providers.names import is_of
from comfypod.errors import ProviderRefused, ProviderUnavailable

NAME: Final = "skypilot"
DEFAULT_FOLDER: Final = Path(".comfypod/skypilot")
_SECRET: Final = re.compile(r"TOKEN|KEY|SECRET|PASSWORD")
"""In the name of a variable: it is named in a task and never written into it."""
ENDS_AT: Final = "COMFYPOD_BATCH_ENDS_AT"
IDLE_MINUTES: Final = 5
# SkyPilot's names where they do not follow from RunPod's (sky/provision/runpod/utils.py, 2026).
_ACCELERATORS: Final = {
    "NVIDIA A100 80GB PCIe": "A100-80GB",
    "NVIDIA A100-SXM4-80GB": "A100-80GB-SXM",
    "NVIDIA H100 80GB HBM3": "H100-SXM",
    "NVIDIA H100 NVL": "H100-NVL",
    "NVIDIA H100 PCIe": "H100",
    "NVIDIA H200": "H200-SXM",
    "NVIDIA RTX 4000 SFF Ada Generation": "RTX4000-Ada-SFF",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTXPRO6000",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTXPRO6000-WK",
}


def accelerator(gpu: str) -> str:
    """SkyPilot's name of a type that RunPod calls so: ``RTXA4000`` for ``NVIDIA RTX A4000``."""
    if gpu in _ACCELERATORS:
        return _ACCELERATORS[gpu]
    plain = gpu.removeprefix("NVIDIA ").removeprefix("GeForce ").removesuffix(" Blackwell")
    if plain.endswith(" Ada Generation"):
        return plain.removesuffix(" Ada Generation").replace(" ", "") + "-Ada"
    return plain.replace(" ", "")


def task(wish: PodWish, others: Sequence[Offer] = (), *, infra: str | None = None) -> dict[str, Any]:
    """A pod as a task; ``others`` are types to take if there is none of the wanted one.

    Without ``infra`` (``runpod``, ``aws/us-east-1``) SkyPilot looks in every cloud that it may use.
    """
    candidates = list(dict.fromkeys((item.gpu, item.price_class == "interruptible") for item in [wish.offer, *others]))
    secrets = _secrets(wish)
    environment = {name: value for name, value in wish.environment.items() if name not in {*secrets, ENDS_AT}}
    return {
        "name": wish.name,
        "resources": {
            **({} if infra is None else {"infra": infra}),
            "image_id": f"docker:{wish.image}",
            "disk_size": -(-wish.disk_bytes // GIGABYTE),
            "autostop": {"idle_minutes": IDLE_MINUTES, "down": True},
            "job_recovery": {"strategy": "EAGER_NEXT_REGION", "max_restarts_on_errors": 3},
            "ordered": [{"accelerators": f"{accelerator(gpu)}:1", "use_spot": is_spot} for gpu, is_spot in candidates],
        },
        "envs": environment,
        "secrets": dict.fromkeys(secrets),
        "run": _script(wish),
    }


def to_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML that version 1.1 and 1.2 read alike: every text but a script is in quotes."""
    return "\n".join(_lines(document)) + "\n"


class SkyPilotProvider:
    """Task files below ``folder``; ``known`` are the offers that a task may fall back on."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, known: Sequence[Offer] = (), *, infra: str | None = None) -> None:
        self._folder = folder
        self._known = list(known)
        self._infra = infra
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """``skypilot``."""
        return NAME

    def offers(self) -> list[Offer]:
        """Those it was told of: what clouds have, SkyPilot knows."""
        return [offer.model_copy(update={"provider": NAME}) for offer in self._known]

    def close(self) -> None:
        """Nothing to let go of."""

    def create(self, wish: PodWish) -> Pod:
        """Write the task of a pod, and beside it the secrets that it names, for nobody else to read.

        Raises:
            ProviderRefused: the name is none of ours.
            ProviderUnavailable: the folder cannot be written.
        """
        if not is_of(wish.name, wish.batch):
            raise ProviderRefused(NAME, f"{wish.name!r} is no name of a pod of batch {wish.batch!r}")
        others = [offer for offer in self._known if offer.memory_bytes >= wish.offer.memory_bytes]
        path = self._folder / f"{wish.name}.yaml"
        with self._lock:
            if not path.exists():
                try:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._write_secrets(wish)
                    temporary = path.with_suffix(".new")
                    temporary.write_text(to_yaml(task(wish, others, infra=self._infra)), encoding="utf-8")
                    temporary.replace(path)
                except OSError as error:
                    raise ProviderUnavailable(NAME, f"{path} cannot be written ({error.strerror})") from error
        return _pod(path, wish.offer)

    def pods(self, batch: str | None = None) -> list[Pod]:
        """The tasks that there are; whether somebody has launched them, the coordinator hears from the pods."""
        try:
            found = sorted(path for path in self._folder.glob("*.yaml") if is_of(path.stem, batch))
            return [_pod(path, None) for path in found]
        except OSError as error:
            raise ProviderUnavailable(NAME, f"{self._folder} cannot be read ({error.strerror})") from error

    def end(self, pod: Pod) -> None:
        """Take the task away; the pod ends when its coordinator tells it to: ``sky jobs cancel`` is sooner."""
        if is_of(pod.name, None):
            with suppress(FileNotFoundError):
                (self._folder / f"{pod.name}.yaml").unlink()

    def _write_secrets(self, wish: PodWish) -> None:
        path = self._folder / f"{wish.batch}.env"
        lines = [f"{name}={shlex.quote(value)}" for name, value in _secrets(wish).items()]
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _secrets(wish: PodWish) -> dict[str, str]:
    """Of its environment; ``sky`` takes them from that of whoever launches the task."""
    return {name: wish.environment[name] for name in sorted(wish.environment) if _SECRET.search(name)}


def _script(wish: PodWish) -> str:
    """The pod's program, with a dead man's switch that counts from the task's own start."""
    ends_at = wish.environment.get(ENDS_AT)
    lines = ["set -e", "cd /app"]
    if ends_at is not None:
        seconds = max(60, round(float(ends_at) - time.time()))
        lines.append(f"export {ENDS_AT}=$(( $(date +%s) + {seconds} ))")
    return "\n".join([*lines, f"exec {shlex.join(wish.command)}"])


def _pod(path: Path, offer: Offer | None) -> Pod:
    return Pod(
        identifier=path.stem,
        name=path.stem,
        state="starting",
        dollars_per_hour=0.0 if offer is None else offer.dollars_per_hour,
        price_class="on_demand" if offer is None else offer.price_class,
        gpu="" if offer is None else offer.gpu,
        started_at=path.stat().st_mtime,
    )


def _lines(document: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{_scalar(name)}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value:
            lines.append(f"{indent}{_scalar(name)}:")
            lines += [f"{indent}  - {_flow(item)}" for item in value]
        elif isinstance(value, str) and "\n" in value and value.isascii() and value.strip() == value:
            lines += [f"{indent}{_scalar(name)}: |-", *(f"{indent}  {line}" for line in value.split("\n"))]
        else:
            lines.append(f"{indent}{_scalar(name)}: {_scalar(value)}")
    return lines


def _flow(value: Any) -> str:  # noqa: ANN401 (any JSON)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(name)}: {_flow(item)}" for name, item in value.items()) + "}"
    return _scalar(value)


def _scalar(value: Any) -> str:  # noqa: ANN401 (any JSON)
    """JSON's scalars are YAML's; plain names are left as they are."""
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 takes for something else than text."""

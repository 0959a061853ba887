"""Checks of this machine: GPU, ports, disk, folders that are written to."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from comfypod.cli.doctor.finding import Finding, Patient
from comfypod.storage.models.progress import format_bytes

GPU_SECONDS = 15.0
PORTS = {8188: "comfypod emulate comfyui", 8000: "comfypod emulate runpod"}
"""The default ports of our servers."""
WRITTEN_FOLDERS = ("outputs", ".comfypod")
LITTLE_DISK_BYTES = 2 * 1024**3

_GPU_FIELDS = "name,driver_version,memory.total"


def gpu(patient: Patient) -> Finding:  # noqa: ARG001 (every check has this shape)
    """The NVIDIA GPUs with their memory, driver and CUDA version; none is fine on a laptop."""
    program = shutil.which("nvidia-smi")
    if program is None:
        advice = "Jobs run on RunPod, or on the built-in engine; a ComfyUI here would be started with --cpu."
        return Finding("gpu", "note", "No NVIDIA GPU is seen (there is no nvidia-smi)", advice)
    query = [program, f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader"]
    done = subprocess.run(query, check=False, capture_output=True, text=True, timeout=GPU_SECONDS)  # noqa: S603
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        reason = (done.stdout + done.stderr).strip().splitlines()
        remedy = "Its driver and the kernel do not agree, or the container was started without --gpus all."
        said = reason[0] if reason else f"exit code {done.returncode}"
        return Finding("gpu", "problem", f"nvidia-smi is there and fails: {said}", remedy)
    # It has no field for this; its page has it at the top.
    page = subprocess.run([program], check=False, capture_output=True, text=True, timeout=GPU_SECONDS)  # noqa: S603
    found = re.search(r"CUDA Version:\s*([\d.]+)", page.stdout)
    cuda = f"; CUDA up to {found[1]}" if found else ""
    return Finding("gpu", "ok", "; ".join(map(_gpu_words, lines)) + cuda)


def _gpu_words(line: str) -> str:
    """``NVIDIA L4, 550.54, 23034 MiB`` as a clause."""
    name, driver, memory = [*(part.strip() for part in line.split(",")), "?", "?"][:3]
    return f"{name} ({memory}, driver {driver})"


def ports(patient: Patient, defaults: Mapping[int, str] = PORTS) -> Finding:
    """Whether the ports that our servers take by default are free; the one of COMFYUI_URL may be taken."""
    expected = urlsplit(patient.environment.get("COMFYUI_URL", "")).netloc.rpartition(":")[2]
    taken = [port for port in defaults if str(port) != expected and _is_taken(port)]
    if not taken:
        return Finding("ports", "ok", "None of ours is taken by another program")
    sentences = [f"{port} is taken by {owner_of(port)}" for port in taken]
    remedy = "; ".join(f"{defaults[port]} --port 0 takes a free one" for port in taken)
    return Finding("ports", "note", "; ".join(sentences), remedy)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def owner_of(port: int) -> str:
    """Who listens there: a ComfyUI says so itself, of others Linux tells the process."""
    if version := _comfyui_version(port):
        return f"ComfyUI {version}"
    return _process_at(port) or "a program that this user cannot see"


def _comfyui_version(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/system_stats")
        text = connection.getresponse().read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    found = re.search(r'"comfyui_version":\s*"([\w.+-]+)"', text)
    return found[1] if found else None


def _process_at(port: int) -> str | None:
    """``NAME (process 123)``, from ``/proc`` (proc(5): net/tcp has the socket's inode, fd/ points to it)."""
    sockets = set(_listening_sockets(port))
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # another user's, or gone by now
            continue
    return None


def _listening_sockets(port: int) -> list[str]:
    listening = "0A"
    found = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(f"socket:[{fields[9]}]")
    return found


def disk(patient: Patient) -> Finding:
    """What is free where results, logs and downloads go."""
    free_bytes = shutil.disk_usage(patient.root).free
    sentence = f"{format_bytes(free_bytes)} free here"
    if free_bytes < LITTLE_DISK_BYTES:
        return Finding("disk", "warning", sentence, "Make room: results and models need more.")
    return Finding("disk", "ok", sentence)


def folders(patient: Patient) -> Finding:
    """Whether results and logs can be written."""
    closed = [name for name in WRITTEN_FOLDERS if not _is_writable(patient.root / name)]
    if closed:
        sentence = f"Nothing can be written to {' and '.join(f'{name}/' for name in closed)}"
        remedy = "Make the folder yours (chown, chmod), or give another one: comfypod run --output FOLDER"
        return Finding("folders", "problem", sentence, remedy)
    return Finding("folders", "ok", f"{' and '.join(f'{name}/' for name in WRITTEN_FOLDERS)} can be written to")


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in it; one that is not there yet is not made, its parent counts."""
    if not folder.exists():
        return os.access(folder.parent, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
    except OSError:
        return False
    return True

"""Checks of the ComfyUI that a worker on this machine would use: COMFYUI_URL, COMFYUI_COMMAND, a checkout, none."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import requests

from comfypod.cli.doctor.finding import Finding, Patient
from comfypod.comfyui.checkout import checkout_python, checkout_version, installed_commit, is_unfinished
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings

ANSWER_SECONDS = 10.0
TORCH_SECONDS = 60.0

_INSTALL = "comfypod comfyui install"
_TORCH_PINS = "image/torch/cu128.in"
_TORCH_SCRIPT = (
    "import json, torch; print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available()]))"
)


def comfyui(patient: Patient) -> Finding:
    """Which ComfyUI a worker here would use, and whether it is there."""
    url, command = (patient.environment.get(name, "").strip() for name in ("COMFYUI_URL", "COMFYUI_COMMAND"))
    if url:
        return _running(url)
    if command:
        return _command(command, patient.root)
    if (patient.root / "ComfyUI" / "main.py").is_file():
        return _checkout(patient.root / "ComfyUI")
    remedy = f"For real pictures: {_INSTALL}, a ComfyUI that runs (COMFYUI_URL), or an endpoint."
    sentence = "No ComfyUI is set up here: a local worker uses the built-in engine, which draws shapes"
    return Finding("comfyui", "note", sentence, remedy)


def _running(url: str) -> Finding:
    shown = re.sub(r"//[^/@]*@", "//***@", url)
    try:
        answer = requests.get(f"{url.rstrip('/')}/system_stats", timeout=ANSWER_SECONDS)
        answer.raise_for_status()
        system = answer.json()["system"]
        version = system["comfyui_version"]
    except (KeyError, TypeError, requests.JSONDecodeError):
        return Finding("comfyui", "problem", f"What answers at {shown} is no ComfyUI", "Correct COMFYUI_URL.")
    except requests.RequestException as error:
        reason = "it does not answer" if error.response is None else f"it answers HTTP {error.response.status_code}"
        remedy = "Start it, or correct COMFYUI_URL; unset it to have the worker start its own."
        return Finding("comfyui", "problem", f"COMFYUI_URL is {shown}, and {reason}", remedy)
    if system.get("comfypod_emulator"):
        return Finding("comfyui", "note", f"The built-in engine answers at {shown}; it draws shapes")
    return Finding("comfyui", "ok", f"ComfyUI {version} answers at {shown} (COMFYUI_URL)")


def _command(command: str, root: Path) -> Finding:
    """The program, and the script that an interpreter is to run; starting it takes minutes and the GPU (--start)."""
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        sentence = f"COMFYUI_COMMAND starts {words[0] if words else 'nothing'!r}, which is no program here"
        return Finding(
            "comfyui", "problem", sentence, "Correct COMFYUI_COMMAND; write the program with its whole path."
        )
    scripts = [word for word in words[1:] if word.endswith(".py")]
    if missing := [script for script in scripts if not (root / script).is_file()]:
        sentence = f"COMFYUI_COMMAND runs {missing[0]}, which is not there"
        return Finding("comfyui", "problem", sentence, "Correct the path in COMFYUI_COMMAND.")
    return Finding("comfyui", "ok", "COMFYUI_COMMAND names a program that is here", "`--start` sees whether it works.")


def _checkout(folder: Path) -> Finding:
    """A ComfyUI in ``ComfyUI/``, beside the pin that says which one the image has."""
    if is_unfinished(folder):
        return Finding(
            "comfyui", "problem", "The installation of ComfyUI in ComfyUI/ was broken off", f"Go on with it: {_INSTALL}"
        )
    version, commit = checkout_version(folder), installed_commit(folder)
    if not (folder / PIN_FILE).is_file():
        return Finding("comfyui", "ok", f"ComfyUI {version} in ComfyUI/")
    pin = ComfyUIPin.load(folder / PIN_FILE)
    if commit == pin.commit or (commit is None and version == pin.version):
        return Finding("comfyui", "ok", f"ComfyUI {version} in ComfyUI/, as the image installs it")
    sentence = f"The ComfyUI in ComfyUI/ is version {version or 'unknown'}; the image installs {pin.version}"
    own = (folder / ".git").exists()
    command = f"git -C ComfyUI checkout {pin.commit}" if own else _INSTALL
    return Finding("comfyui", "note", sentence, f"To test what runs on RunPod: {command}")


def torch(patient: Patient) -> Finding | None:
    """The torch of a checkout's own environment; it is asked there, and never imported here."""
    interpreter = checkout_python(patient.root / "ComfyUI")
    if interpreter is None:
        return None
    done = subprocess.run(  # noqa: S603
        [str(interpreter), "-c", _TORCH_SCRIPT], check=False, capture_output=True, text=True, timeout=TORCH_SECONDS
    )
    remedy = (
        f"{_INSTALL}, or: {interpreter.parent}/pip install --constraint {_TORCH_PINS} "
        "--requirement ComfyUI/requirements.txt"
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return Finding("torch", "problem", f"torch cannot be imported by {interpreter}: {last}", remedy)
    version, cuda, sees_gpu = json.loads(done.stdout.strip().splitlines()[-1])
    words = f"torch {version} in {interpreter}, {f'CUDA {cuda}' if cuda else 'without CUDA'}"
    pin = _pinned_torch(patient.root / _TORCH_PINS)
    if shutil.which("nvidia-smi") and not sees_gpu:
        return Finding(
            "torch", "problem", f"{words}; it does not see the GPU", "Install the torch of your CUDA version."
        )
    if pin and version.partition("+")[0] != pin:
        return Finding("torch", "warning", f"{words}; the image has {pin}", remedy)
    return Finding("torch", "ok", words)


def _pinned_torch(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"(?m)^torch==([^\s;]+)", text)
    return found[1] if found else None


def start(patient: Patient) -> Finding | None:
    """With ``--start``: start ComfyUI as a worker would, run the worker's self-test on it, and end it."""
    if not patient.starts_comfyui:
        return None
    url, command = (patient.environment.get(name, "").strip() for name in ("COMFYUI_URL", "COMFYUI_COMMAND"))
    if url:
        return Finding("start", "note", "Nothing to start: what COMFYUI_URL names was started by somebody else")
    if not command and not (patient.root / "ComfyUI" / "main.py").is_file():
        sentence = "Nothing to start: COMFYUI_COMMAND is not set, and there is no ComfyUI in ComfyUI/"
        return Finding("start", "note", sentence, f"To have one there: {_INSTALL}")
    # Here, since a client's machine need not have the worker's libraries.
    from comfypod.comfyui.selftest import run_self_test  # noqa: PLC0415
    from comfypod.worker.launch import Launch  # noqa: PLC0415

    try:
        timeout_seconds = Settings.from_environment(patient.environment).comfyui_startup_timeout_seconds
    except ConfigurationError:  # the check of settings tells it
        timeout_seconds = Settings().comfyui_startup_timeout_seconds
    with Launch(patient.root, patient.environment) as launch:
        process = launch.process
        assert process is not None  # noqa: S101 (without COMFYUI_URL it has started one)
        process.wait_until_ready(timeout_seconds)
        run_self_test(process, timeout_seconds)
    failed = "; ".join(f"{pack}: {reason}" for pack, reason in process.failed_imports.items())
    if failed:
        remedy = "What they require belongs into the Python that runs ComfyUI."
        return Finding("start", "warning", f"ComfyUI works, but custom nodes failed to import: {failed}", remedy)
    return Finding("start", "ok", "ComfyUI started, and its self-test ran")

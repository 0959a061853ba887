"""Build the Dockerfile on a bare Debian in place of NVIDIA's image, start it, and run a job in it.

    python -m benchmarks.image --checkpoint tiny.safetensors

Needs root, Debian's buildah, podman, runc and mmdebstrap, some 40 GB of disk for torch with CUDA, and the package
registry. ComfyUI comes from its repository, or from a mirror (--comfyui-repository); the model from a hub on this
machine, under the name that the default template wants. Everything else is as on RunPod: the committed Dockerfile, its
stages and its smoke test. What this cannot show is a GPU.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fleet import ENDPOINT, KEY, emulated
from benchmarks.image.containers import Containers, Step, context_of
from benchmarks.image.hub import COMMIT, serving, sha256_of, small_checkpoint
from comfypod.cloud.client import Client

ROOT = Path(__file__).parents[2]
BASE, TAG = "localhost/standin:1", "localhost/comfypod:1"
MODEL = "sd_xl_base_1.0.safetensors"
JOB_SECONDS = 600.0
MEBIBYTE = 1024**2
_VARIABLES = ("RUNPOD_*", "REQUIRE_GPU=false", "WARMUP_WORKFLOW")
SMALL_PICTURE = {"prompt": "a red circle on blue", "width": 128, "height": 128, "steps": 4}
"""Of the default template; on a processor a larger one takes its time."""
WITHOUT_MODEL = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 65280}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "image"}},
}


def main() -> int:
    """The rehearsal; 0 if the image was built and its job succeeded."""
    options = _parser().parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    containers = Containers(options.folder)
    containers.make_base(options.suite, BASE)
    with tempfile.TemporaryDirectory(prefix="comfypod-image-") as work:
        checkpoint = options.checkpoint or small_checkpoint(Path(work, MODEL))
        steps = build(containers, options, checkpoint, Path(work))
    report_build(steps, containers.layers(TAG))
    run_job(containers, options, has_model=options.checkpoint is not None)
    return 0


def build(containers: Containers, options: argparse.Namespace, checkpoint: Path, work: Path) -> list[Step]:
    """Build what is committed, with the hub of this machine as the source of its model."""
    context = work / "context"
    context_of(ROOT, context)
    (context / "models.toml").write_text(
        f'[[model]]\nname = "{MODEL}"\nfolder = "checkpoints"\nwhen = "build"\n'
        f'repository = "stabilityai/stable-diffusion-xl-base-1.0"\nrevision = "{COMMIT}"\n'
        f'sha256 = "{sha256_of(checkpoint)}"\nsize_bytes = {checkpoint.stat().st_size}\n'
    )
    if options.comfyui_commit:
        _pin(context / "ComfyUI/comfyui.toml", options.comfyui_commit)
    with serving(checkpoint) as hub:
        arguments = {
            "CUDA_IMAGE": BASE,
            "PYTHON": options.python,
            "TORCH_SET": options.torch_set,
            "COMFYUI_REPOSITORY": options.comfyui_repository,
            "HF_ENDPOINT": hub,
            "DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
        }
        return containers.build(context, TAG, "default", arguments, options.mount)


def _pin(path: Path, commit: str) -> None:
    print(f"ComfyUI at {commit}, and not at the commit that is pinned.", file=sys.stderr)
    path.write_text(re.sub(r'(?m)^commit = ".*"$', f'commit = "{commit}"', path.read_text()))


def report_build(steps: list[Step], layers: list[tuple[int, str]]) -> None:
    """Which instructions took time, and which layers take space."""
    print(f"\nBuilt in {sum(step.seconds for step in steps):.0f} s. Instructions of a second or more:\n")
    for step in steps:
        if step.seconds >= 1:
            print(f"{step.seconds:8.1f} s  {_shortened(step.words)}")
    print(f"\n{sum(size for size, _ in layers) / MEBIBYTE:,.0f} MiB. Layers of a MiB or more:\n")
    for size, words in layers:
        if size >= MEBIBYTE:
            print(f"{size / MEBIBYTE:8,.0f} MiB  {_shortened(words)}")


def run_job(containers: Containers, options: argparse.Namespace, *, has_model: bool) -> None:
    """Start the image behind a local RunPod with a job waiting, and save what the job makes."""
    command = shlex.join(containers.run_command(TAG, _VARIABLES))
    log = options.folder / "worker.log"
    with (
        emulated(log, "--max-workers", "1", "--worker-command", command) as base_url,
        Client(ENDPOINT, KEY, base_url) as client,
    ):
        begun = time.monotonic()
        job = client.submit("text_to_image", parameters=SMALL_PICTURE) if has_model else client.submit(WITHOUT_MODEL)
        result = job.wait(timeout_seconds=JOB_SECONDS)
        seconds = time.monotonic() - begun
        paths = result.save(options.output)
    print(f"\nA job without a worker, to its result: {seconds:.1f} s; timings of the worker: {result['timings']}")
    print("Saved:", *paths)


def _shortened(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= 100 else words[:99] + "…"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/image", help="for images; kept between runs")
    parser.add_argument("--suite", default="trixie", help="Debian's release")
    parser.add_argument("--python", default="python3.13", help="the Python that this release has")
    parser.add_argument("--torch-set", default="cu128", help="a set of image/torch/")
    parser.add_argument("--comfyui-repository", default="", help="a mirror; a folder must be mounted")
    parser.add_argument("--comfyui-commit", default="", help="another than the pinned one, if the mirror lacks that")
    parser.add_argument("--checkpoint", type=Path, help="one that ComfyUI can load; without it the job needs no model")
    parser.add_argument("--mount", action="append", default=[], metavar="SOURCE:TARGET", help="into the build")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs/image")
    return parser


if __name__ == "__main__":
    sys.exit(main())

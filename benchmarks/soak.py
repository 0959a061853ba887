"""Many jobs in a row through the local RunPod, the real SDK and the handler: is any lost, does memory stay flat?

Every job has a workflow of its own (so that nothing is cached) and its picture is compared with what was asked for.
Memory is the resident size of the handler's process, sampled after each job.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from PIL import Image

from comfypod import Client
from comfypod.cli.local import LocalEndpoint
from comfypod.errors import ComfyPodError

MEBIBYTE = 1024 * 1024


def main() -> int:
    """Run the jobs and print the figures; exit code 1 if a job was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="width and height of each picture")
    arguments = parser.parse_args()
    endpoint = LocalEndpoint(Path(".comfypod/soak.log"))
    try:
        return soak(endpoint, arguments.jobs, arguments.size)
    finally:
        endpoint.stop()


def soak(endpoint: LocalEndpoint, jobs: int, size: int) -> int:
    memory: list[float] = []
    with Client(endpoint.endpoint_id, endpoint.api_key, endpoint.base_url()) as client:
        run_job(client, 0, size)  # the worker is up, and everything is imported
        worker = worker_process()
        begun = time.monotonic()

        def run(color: int) -> bool:
            came_back = run_job(client, color, size)
            memory.append(worker.memory_info().rss / MEBIBYTE)
            return came_back

        with ThreadPoolExecutor(4) as pool:
            good = sum(pool.map(run, range(1, jobs + 1)))
    seconds = time.monotonic() - begun
    quarter = max(1, jobs // 4)
    first, last = statistics.median(memory[:quarter]), statistics.median(memory[-quarter:])
    print(f"jobs {jobs}, right {good}, lost or wrong {jobs - good}, {seconds:.0f} s, {seconds / jobs:.2f} s a job")
    print(
        f"handler's memory: {first:.1f} MiB in the first quarter, {last:.1f} MiB in the last, ratio {last / first:.3f}"
    )
    return 0 if good == jobs else 1


def worker_process() -> psutil.Process:
    """The handler: the one process below this one that runs rp_handler.py and is no child of another such."""
    children = psutil.Process().children(recursive=True)
    handlers = [child for child in children if "rp_handler.py" in " ".join(child.cmdline())]
    pids = {child.pid for child in handlers}
    return next(child for child in handlers if child.ppid() not in pids)  # the other is the SDK's heartbeat


def run_job(client: Client, color: int, size: int) -> bool:
    """Whether the job came back with the picture that was asked for."""
    inputs = {"width": size, "height": size, "batch_size": 1, "color": color}
    workflow = {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "soak"}},
    }
    try:
        (image,) = client.submit(workflow).wait(timeout_seconds=300).images
    except ComfyPodError as error:
        print(f"job {color}: {error.code}: {error}")
        return False
    with Image.open(io.BytesIO(image.read())) as picture:
        return picture.convert("RGB").getpixel((0, 0)) == (color >> 16, color >> 8 & 255, color & 255)


if __name__ == "__main__":
    raise SystemExit(main())

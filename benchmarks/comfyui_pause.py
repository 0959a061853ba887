"""How long a ComfyUI that has just been started is silent after its first job, and keeps later jobs waiting.

    python benchmarks/comfyui_pause.py http://127.0.0.1:8188 [SECONDS]

Start ComfyUI anew for each run: the first garbage collection comes with the first prompt, the next ones every 10 s.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import requests

WATCHED_SECONDS = 1.2
PAUSE_SECONDS = 0.002


def prompt(colour: int) -> dict[str, Any]:
    """A picture of 64 x 64, of another colour each time, so that it is made and not cached."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": colour}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "pause"}},
    }


def queue(session: requests.Session, url: str, colour: int) -> str:
    answer = session.post(f"{url}/prompt", json={"prompt": prompt(colour)}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["prompt_id"])


def first_job(session: requests.Session, url: str) -> float:
    """The longest answer, in seconds, to anyone who asks for the history while and after the first job runs."""
    job, longest, begin = queue(session, url, 0), 0.0, time.perf_counter()
    while time.perf_counter() - begin < WATCHED_SECONDS:
        asked = time.perf_counter()
        session.get(f"{url}/history/{job}", timeout=60)
        longest = max(longest, time.perf_counter() - asked)
        time.sleep(PAUSE_SECONDS)
    return longest


def one_after_another(session: requests.Session, url: str, seconds: float) -> tuple[int, float]:
    """How many jobs ended, and how many seconds the slowest took from its POST to its entry in the history."""
    count, slowest, end = 0, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        count, begin = count + 1, time.perf_counter()
        job = queue(session, url, count)
        while job not in session.get(f"{url}/history/{job}", timeout=60).json():
            time.sleep(PAUSE_SECONDS)
        slowest = max(slowest, time.perf_counter() - begin)
    return count, slowest


def main() -> None:
    url, seconds = sys.argv[1].rstrip("/"), float(sys.argv[2]) if len(sys.argv) > 2 else 23.0
    with requests.Session() as session:
        print(f"longest silence with the first job: {first_job(session, url) * 1000:.0f} ms")
        count, slowest = one_after_another(session, url, seconds)
    print(f"{count} jobs one after another in {seconds:.0f} s; the slowest took {slowest * 1000:.0f} ms")


if __name__ == "__main__":
    main()

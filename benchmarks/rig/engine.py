"""The built-in engine as the benchmark runs it: with the benchmark's node, and a journal of its prompts.

python -m benchmarks.rig.engine --base-directory FOLDER --listen 127.0.0.1 --port 8188
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from benchmarks.nodes.benchmark_pictures.pictures import save_pictures, take_time
from benchmarks.nodes.benchmark_pictures.stamps import stamp, stamp_process
from comfypod.cli.emulate import stop_signal
from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult

PROMPT_LOGGER = "comfypod.emulator.engine.worker"
"""Says ``Prompt ID starts`` and ``Prompt ID ended: …``, in the thread that runs it."""


def _run(context: NodeContext, *, seconds: float, size: int, count: int, noise_percent: int, number: int) -> NodeResult:
    take_time(seconds, context.check_interrupted, context.report_progress)
    names = save_pictures(context.output_folder, number, count, size, noise_percent)
    return NodeResult((), {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in names]})


PICTURES = NodeClass(
    "BenchmarkPictures",
    _run,
    {
        "seconds": Input("FLOAT", {"default": 0.0, "min": 0.0, "max": 3600.0}),
        "size": Input("INT", {"default": 64, "min": 1, "max": 16384}),
        "count": Input("INT", {"default": 1, "min": 1, "max": 64}),
        "noise_percent": Input("INT", {"default": 100, "min": 0, "max": 100}),
        "number": Input("INT", {"default": 0, "min": 0, "max": 0xFFFFFF}),
    },
    output_node=True,
    category="benchmark",
)


class PromptStamps(logging.Handler):
    """Turns the engine's two lines about a prompt into stamps."""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args:
            stamp("begin" if "starts" in str(record.msg) else "end", prompt=str(record.args[0]))


async def serve(host: str, port: int, base_directory: Path) -> None:
    """Until SIGINT or SIGTERM."""
    classes = {**NODE_CLASSES, PICTURES.name: PICTURES}
    emulator = ComfyUIEmulator(base_directory, node_classes=classes, own_process=True)
    await emulator.start(host, port)
    stop = stop_signal()
    emulator.died.add_done_callback(lambda _: stop.set())
    try:
        await stop.wait()
    finally:
        await emulator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-directory", type=Path, required=True)
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    arguments = parser.parse_args()
    logger = logging.getLogger(PROMPT_LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(PromptStamps())
    stamp_process()
    asyncio.run(serve(arguments.listen, arguments.port, arguments.base_directory))


if __name__ == "__main__":
    main()

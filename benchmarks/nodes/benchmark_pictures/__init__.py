"""The benchmark's node in a real ComfyUI, and the stamps of its prompts. The built-in engine gets both elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

from .pictures import save_pictures, take_time
from .stamps import stamp_process, stamped


class BenchmarkPictures:
    """Takes ``seconds``, then saves ``count`` pictures; ``number`` makes each job another one."""

    CATEGORY = "benchmark"
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (ComfyUI's name)
        return {
            "required": {
                "seconds": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 3600.0}),
                "size": ("INT", {"default": 64, "min": 1, "max": 16384}),
                "count": ("INT", {"default": 1, "min": 1, "max": 64}),
                "noise_percent": ("INT", {"default": 100, "min": 0, "max": 100}),
                "number": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF}),
            }
        }

    def run(self, *, seconds: float, size: int, count: int, noise_percent: int, number: int) -> dict[str, Any]:
        from comfy.model_management import throw_exception_if_processing_interrupted  # type: ignore[import-not-found] # noqa: PLC0415
        from comfy.utils import ProgressBar  # type: ignore[import-not-found] # noqa: PLC0415
        from folder_paths import get_output_directory  # type: ignore[import-not-found] # noqa: PLC0415

        bar = ProgressBar(1)
        take_time(seconds, throw_exception_if_processing_interrupted, bar.update_absolute)
        names = save_pictures(Path(get_output_directory()), number, count, size, noise_percent)
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in names]}}


if (_execution := sys.modules.get("execution")) is not None and hasattr(_execution, "PromptExecutor"):
    stamp_process()
    _execution.PromptExecutor.execute = stamped(_execution.PromptExecutor.execute)

NODE_CLASS_MAPPINGS = {"BenchmarkPictures": BenchmarkPictures}

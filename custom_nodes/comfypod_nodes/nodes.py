"""The nodes themselves, in the form that every ComfyUI knows; they need nothing but Python."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

CATEGORY = "comfypod"
VALUES = "STRING,INT,FLOAT,BOOLEAN"
"""A union: what fits any of the four (ComfyUI, comfy_execution/validation.py)."""
PLACES = ("a", "b", "c", "d")

_LONGEST_VALUE = 80
_LONGEST_NAME_BYTES = 180
"""File systems allow 255; ComfyUI adds a number and a suffix."""
_SHOWN_AS_FILES = ("animated", "audio", "gifs", "images", "video", "3d")
"""Under these names of a node's output, ComfyUI's page looks for files."""
_LARGEST_SEED = 2**64 - 1

Value = str | int | float | bool
Inputs = dict[str, dict[str, tuple[str, dict[str, Any]]]]


def _name_input(tooltip: str, default: str = "") -> tuple[str, dict[str, Any]]:
    return ("STRING", {"default": default, "tooltip": tooltip})


class Text:
    """A text that a job's parameters set, for any number of other nodes."""

    CATEGORY = CATEGORY
    FUNCTION = "give"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("text",)
    DESCRIPTION = "A text that jobs set as a parameter. Without one, the default."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802 (ComfyUI's name)
        """Its inputs."""
        return {
            "required": {
                "name": _name_input("What the parameter is called.", "text"),
                "value": ("STRING", {"default": "", "multiline": True, "tooltip": "What a job sets."}),
                "default": ("STRING", {"default": "", "multiline": True, "tooltip": "Taken while the value is empty."}),
            }
        }

    def give(self, name: str, value: str, default: str) -> tuple[str]:  # noqa: ARG002 (the name is for people)
        """The value, or else the default."""
        return (value if value.strip() else default,)


class Number:
    """A number that a job's parameters set, as it is and as the nearest whole number."""

    CATEGORY = CATEGORY
    FUNCTION = "give"
    RETURN_TYPES = ("INT", "FLOAT")
    RETURN_NAMES = ("whole", "number")
    DESCRIPTION = "A number that jobs set as a parameter: steps, strength, width."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Its inputs."""
        limits = {"default": 0.0, "min": -1e9, "max": 1e9, "step": 0.01}
        return {
            "required": {"name": _name_input("What the parameter is called.", "number"), "value": ("FLOAT", limits)}
        }

    def give(self, name: str, value: float) -> tuple[int, float]:  # noqa: ARG002
        """The number twice."""
        return (round(value), float(value))


class Seed:
    """One seed for all samplers: what a job's ``seed`` sets, and what the name of a file can have in it."""

    CATEGORY = CATEGORY
    FUNCTION = "give"
    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("seed",)
    DESCRIPTION = "One seed for any number of samplers, and for the names of files."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Its inputs."""
        limits = {"default": 0, "min": 0, "max": _LARGEST_SEED, "control_after_generate": True}
        return {"required": {"seed": ("INT", limits)}}

    def give(self, seed: int) -> tuple[int]:
        """The seed."""
        return (seed,)


class OutputName:
    """The name of an output file, with values of the job in it: ``fox_{a}`` with the seed connected to ``a``."""

    CATEGORY = CATEGORY
    FUNCTION = "give"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("filename_prefix",)
    DESCRIPTION = "Names files after values: connect it to the filename_prefix of a node that saves."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Its inputs; a worker puts the job's folder before what is called ``filename_prefix``."""
        hint = "{a} to {d} stand for what is connected; a folder may stand before the name."
        values = {place: (VALUES, {"forceInput": True}) for place in PLACES}
        return {"required": {"filename_prefix": _name_input(hint, "picture_{a}")}, "optional": values}

    def give(self, filename_prefix: str, **values: Value) -> tuple[str]:
        """The name, filled in: no value brings a folder of its own into it, or makes it too long for a disk."""
        missing = sorted(set(re.findall(r"\{([abcd])\}", filename_prefix)) - values.keys())
        if missing:
            msg = f"{{{missing[0]}}} stands in the name, but nothing is connected to {missing[0]}."
            raise ValueError(msg)
        filled = re.sub(r"\{([abcd])\}", lambda place: _for_a_name(values[place[1]]), filename_prefix)
        folder, slash, name = filled.rpartition("/")
        return (folder + slash + name.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore"),)


def _for_a_name(value: Value) -> str:
    """The value in letters, digits, points and hyphens: ``%`` would be ComfyUI's own place-holders, say."""
    text = re.sub(r"[^\w.-]+", "_", str(value)[:_LONGEST_VALUE])
    return text.strip("._") or "_"


class Result:
    """A value for the job's result: it stands in ``texts``, with this name as ``key``."""

    CATEGORY = CATEGORY
    FUNCTION = "give"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    OUTPUT_NODE = True
    DESCRIPTION = "Returns a value with the job, under a name: a caption, a score, a seed."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Its inputs."""
        value = (VALUES, {"forceInput": True})
        return {"required": {"name": _name_input("The key of the value.", "text"), "value": value}}

    def give(self, name: str, value: Value) -> dict[str, dict[str, list[Value]]]:
        """The value; as a text where JSON has no such number."""
        if not name.isprintable() or not name.strip() or name in _SHOWN_AS_FILES:
            msg = f"{name!r} cannot be the name of a value: choose another."
            raise ValueError(msg)
        is_number = not isinstance(value, float) or math.isfinite(value)
        return {"ui": {name: [value if is_number else str(value)]}}


NODE_CLASS_MAPPINGS = {
    "ComfypodText": Text,
    "ComfypodNumber": Number,
    "ComfypodSeed": Seed,
    "ComfypodOutputName": OutputName,
    "ComfypodResult": Result,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "ComfypodText": "Job text",
    "ComfypodNumber": "Job number",
    "ComfypodSeed": "Job seed",
    "ComfypodOutputName": "Name the output",
    "ComfypodResult": "Return a value",
}

"""The fields of a form: what kind of field an input of a node is, what bounds it, and what people call it. Pure.

What an endpoint has said of a class counts. Where it has said nothing, the name of the input and the kind of its value
have to do, and nothing is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from comfypod.schema.template import LARGEST_SEED
from comfypod.schema.workflow import RANDOM, SEED_INPUTS
from comfypod.web.documents import Document

FieldKind = Literal[
    "text", "longtext", "integer", "number", "seed", "boolean", "choice", "image", "mask", "video", "audio", "file"
]
FILE_KINDS: frozenset[FieldKind] = frozenset({"image", "mask", "video", "audio", "file"})
LARGEST_EXACT = 2**53 - 1
"""The largest whole number that a browser has exactly (ECMAScript, Number.MAX_SAFE_INTEGER)."""
_LONG_TEXTS = frozenset({"text", "prompt", "positive", "negative", "text_g", "text_l", "clip_l", "t5xxl", "caption"})
"""Inputs that hold sentences, in nearly every node that has one of this name."""
_LONG = 60
_MASK_CLASSES = frozenset({"LoadImageMask"})
_FILE_INPUTS: Mapping[str, tuple[str, FieldKind]] = {
    "LoadImage": ("image", "image"),
    "LoadImageMask": ("image", "mask"),
    "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"),
    "VHS_LoadVideo": ("video", "video"),
    "VHS_LoadAudioUpload": ("audio", "audio"),
}
"""Which input of a class names a file that people bring (ComfyUI, nodes.py and comfy_extras; VideoHelperSuite)."""
_MAIN_NAMES = frozenset({"width", "height"})
_LABELS: Mapping[str, str] = {
    "cfg": "CFG",
    "ckpt_name": "Checkpoint",
    "unet_name": "Diffusion model",
    "vae_name": "VAE",
    "lora_name": "LoRA",
    "clip_name": "Text encoder",
    "sampler_name": "Sampler",
    "noise_seed": "Seed",
    "fps": "Frames per second",
}
_KINDS_OF_VALUES: Mapping[type, FieldKind] = {bool: "boolean", int: "integer", float: "number"}
_NUMBERS: frozenset[FieldKind] = frozenset({"integer", "number", "seed"})


class Described(Document):
    """What an endpoint says of an input (``docs/reference/job.md``, description of a workflow)."""

    type: str
    default: Any = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    step: float | int | None = None
    choices: list[Any] | None = None
    is_cut: bool = False
    is_multiline: bool = False
    upload: str | None = None
    is_seed: bool = False
    tooltip: str = ""

    @classmethod
    def read(cls, document: Any) -> Described | None:  # noqa: ANN401 (foreign JSON)
        """The description, if it is one."""
        try:
            return cls.model_validate(document)
        except ValidationError:
            return None


class Field(Document):
    """One field: ``name`` is its key among a run's parameters; ``is_main``: it is shown first."""

    name: str
    label: str
    kind: FieldKind
    default: Any = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    step: float | int | None = None
    multiple_of: int | None = None
    choices: list[Any] | None = None
    description: str = ""
    group: str | None = None
    is_main: bool = False


def kind_of_input(class_type: str, name: str, value: Any, described: Described | None) -> FieldKind | None:  # noqa: ANN401
    """What kind of field an input is; None where a person could give no value."""
    if described is not None:
        if described.type.startswith("COMFY_DYNAMIC"):  # another choice needs other inputs beside it
            return None
        if kind := _described_kind(class_type, name, described):
            return kind
    if class_type in _FILE_INPUTS and _FILE_INPUTS[class_type][0] == name:
        return _FILE_INPUTS[class_type][1]
    if name in SEED_INPUTS and (value == RANDOM or _is_whole(value)):
        return "seed"
    if isinstance(value, str):
        return "longtext" if name in _LONG_TEXTS or len(value) > _LONG or "\n" in value else "text"
    return _KINDS_OF_VALUES.get(type(value))


def _described_kind(class_type: str, name: str, described: Described) -> FieldKind | None:
    kinds: Mapping[str, FieldKind] = {
        "INT": "integer",
        "FLOAT": "number",
        "BOOLEAN": "boolean",
        "STRING": "longtext" if described.is_multiline else "text",
    }
    if described.upload == "image":
        return "mask" if class_type in _MASK_CLASSES else "image"
    if described.upload == "video":
        return "video"
    if described.upload is not None:
        return "audio" if described.upload == "audio" else "file"
    if described.is_seed and described.type == "INT":
        return "seed" if name in SEED_INPUTS else "integer"  # the worker draws those two alone
    if described.type == "COMBO" and (described.is_cut or not described.choices):
        return "text"  # there are more than are told, or none: what is typed may be right
    return "choice" if described.choices is not None else kinds.get(described.type)


def bounds_of(kind: FieldKind, described: Described | None) -> dict[str, Any]:
    """Range, step, choices and meaning, as fields of a `Field`."""
    if described is None:
        return {"minimum": 0, "maximum": LARGEST_EXACT} if kind == "seed" else {}
    bounds: dict[str, Any] = {"description": described.tooltip}
    if kind in _NUMBERS:
        bounds |= {
            "minimum": _exact(described.minimum, kind),
            "maximum": _exact(described.maximum, kind),
            "step": described.step,
        }
    if kind == "choice":
        bounds["choices"] = described.choices
    return bounds


def default_of(kind: FieldKind, value: Any, described: Described | None) -> Any:  # noqa: ANN401 (any JSON)
    """What a field holds at first.

    A file that the workflow names is none of the person's own, so it counts only where the endpoint has it. A seed that
    a browser would change, since it is too large, is drawn.
    """
    if kind in FILE_KINDS:
        return value if described is not None and value in (described.choices or ()) else None
    if kind == "seed" and _is_whole(value) and value > LARGEST_EXACT:
        return RANDOM
    return value


def label_of(name: str) -> str:
    """``batch_size`` as people write it."""
    last = name.rpartition(".")[2]
    words = last.replace("_", " ").replace("-", " ").strip()
    return _LABELS.get(last) or words[:1].upper() + words[1:] or name


def is_main(kind: FieldKind, name: str) -> bool:
    """Whether most people want to see it at once."""
    return kind in {"longtext", "seed"} or kind in FILE_KINDS or name in _MAIN_NAMES


def _exact(number: float | None, kind: FieldKind) -> float | None:
    """A bound that a browser can have; beyond it there is none, but for a seed."""
    if number is None or abs(number) <= LARGEST_EXACT:
        return number
    return LARGEST_EXACT if kind == "seed" and number > 0 else None


def _is_whole(value: Any) -> bool:  # noqa: ANN401 (any JSON)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_SEED

"""Is a workflow one that this ComfyUI can run? Found out from its catalogue, before anything is sent or fetched. Pure.

ComfyUI itself checks as well, and its word counts: only what it would refuse for certain is an obstacle here. A custom
node may check its own values (``VALIDATE_INPUTS``), of which the catalogue says nothing, so those are left to ComfyUI,
and what is found here explains its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from comfypod.comfyui.catalogue import Catalogue, NodeInput, linked_node, nearest, reachable
from comfypod.schema.wire import listed, shortened
from comfypod.schema.workflow import Workflow

MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx"})
"""``folder_paths.py: supported_pt_extensions``, and two that custom nodes load."""

_MODEL_FOLDERS: Mapping[str, str] = {
    "CLIPVisionLoader.clip_name": "clip_vision",
    "UpscaleModelLoader.model_name": "upscale_models",
    "LatentUpscaleModelLoader.model_name": "latent_upscale_models",
    "ModelPatchLoader.name": "model_patches",
    "audio_encoder_name": "audio_encoders",
    "ckpt_name": "checkpoints",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "control_net_name": "controlnet",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "lora_name": "loras",
    "photomaker_model_name": "photomaker",
    "style_model_name": "style_models",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
}
"""The models folder that a loader's list shows, by ``CLASS.INPUT`` or by the input's name (``nodes.py``)."""

_CHECK_THEMSELVES = frozenset(
    {
        "LoadLatent",
        "LoadImageSetNode",
        "Load3D",
        "Load3DAdvanced",
        "CustomCombo",
        "ModelAttentionBackend",
        "SelectModelDevice",
        "SelectCLIPDevice",
        "SelectVAEDevice",
    }
)
"""Core classes with a ``VALIDATE_INPUTS`` for a list that has no upload button (0.3.64 to 0.33)."""

MOST_TOLD = 20
"""Finding names that resemble one takes a while; nobody reads more of it."""

Explain = Callable[[str], str | None]
"""A clause that says where a class that is not here should come from; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class MissingChoice:
    """A value that its list does not have; ``folder`` is the models folder if it is a model file of a known kind."""

    node_id: str
    class_type: str
    input_name: str
    value: str
    folder: str | None
    is_model: bool
    is_certain: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What stands in a workflow's way: sentences about unknown classes, and values that are not there."""

    unknown_classes: Sequence[str]
    missing: Sequence[MissingChoice]

    @property
    def obstacles(self) -> list[str]:
        """A sentence for everything that ComfyUI would refuse for certain."""
        return [*self.unknown_classes, *(item.sentence for item in self.missing if item.is_certain)]

    @property
    def missing_models(self) -> list[MissingChoice]:
        """The model files that are not there."""
        return [item for item in self.missing if item.is_model]


def check_workflow(workflow: Workflow, catalogue: Catalogue, explain: Explain) -> Findings:
    """Compare a workflow with what is installed.

    ComfyUI wants every class to exist, and checks the values of the nodes that it would run.
    """
    unknown = [node_id for node_id, node in workflow.nodes.items() if node["class_type"] not in catalogue]
    told = [_unknown_class(node_id, workflow, catalogue, explain) for node_id in unknown[:MOST_TOLD]]
    if len(unknown) > MOST_TOLD:
        told.append(f"{len(unknown) - MOST_TOLD} more nodes are of classes that this ComfyUI does not have")
    wanted = set(reachable(workflow.nodes, catalogue))
    missing: list[MissingChoice] = []
    for node_id in workflow.nodes:
        if node_id in wanted:
            missing += _missing(node_id, workflow, catalogue, with_advice=len(missing) < MOST_TOLD)
    return Findings(told, missing)


def _unknown_class(node_id: str, workflow: Workflow, catalogue: Catalogue, explain: Explain) -> str:
    class_type = str(workflow.class_type(node_id))
    if known := explain(class_type):
        advice = known
    elif near := catalogue.nearest_classes(class_type):
        advice = f"did you mean {' or '.join(near)}?"
    else:
        advice = "install the custom node pack that it belongs to"
    return f"node {shortened(node_id)}: this ComfyUI has no node class {shortened(class_type)!r}; {advice}"


def _missing(node_id: str, workflow: Workflow, catalogue: Catalogue, *, with_advice: bool) -> Iterator[MissingChoice]:
    class_type = str(workflow.class_type(node_id))
    values = workflow.nodes[node_id]["inputs"]
    for name, item in catalogue.inputs(class_type).items():
        value = values.get(name)
        if item.choices is None or item.is_upload or value is None or linked_node(value) or value in item.choices:
            continue
        if isinstance(value, str):
            advised_by = catalogue if with_advice else None
            yield _missing_choice((node_id, class_type), item, value, catalogue.is_core(class_type), advised_by)


def models_folder(class_type: str, input_name: str) -> str | None:
    """The models folder that the list of an input shows, where that is known."""
    return _MODEL_FOLDERS.get(f"{class_type}.{input_name}") or _MODEL_FOLDERS.get(input_name)


def _missing_choice(
    node: tuple[str, str],
    item: NodeInput,
    value: str,
    is_core: bool,
    advised_by: Catalogue | None,
) -> MissingChoice:
    node_id, class_type = node
    folder = models_folder(class_type, item.name)
    is_model = PurePosixPath(value).suffix.lower() in MODEL_SUFFIXES
    known = _advice(item, value, folder, is_model, advised_by) if advised_by else f"{shortened(value)!r} is not there"
    return MissingChoice(
        node_id=node_id,
        class_type=class_type,
        input_name=item.name,
        value=value,
        folder=folder if is_model else None,
        is_model=is_model,
        is_certain=is_core and class_type not in _CHECK_THEMSELVES,
        sentence=f"node {shortened(node_id)} ({class_type}): {item.name} {known}",
    )


def _advice(item: NodeInput, value: str, folder: str | None, is_model: bool, catalogue: Catalogue) -> str:
    """What a person can do about a value that is not there."""
    choices: Sequence[Any] = item.choices or ()
    text = f"{shortened(value)!r} is not {'installed' if is_model else 'available'} here"
    near, places = nearest(value, choices), catalogue.places_of(value) if is_model else []
    if places and not any(choice.endswith(value) for choice in near):
        return f"{text}; a file of that name lies where {places[0]} looks, and this loader reads {_folder(folder)}"
    if near:
        return f"{text}; did you mean {' or '.join(map(repr, near))}?"
    if is_model and not choices:
        return f"{text}, and nothing else is: such files belong into {_folder(folder)}"
    shown = listed(map(repr, choices), 10)
    where = f" (such files belong into {_folder(folder)})" if is_model else ""
    return f"{text}; there is {shown or 'nothing'}{where}"


def _folder(folder: str | None) -> str:
    return f"models/{folder}" if folder else "another models folder"

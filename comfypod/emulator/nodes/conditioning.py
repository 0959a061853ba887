"""Nodes that turn a prompt into conditioning: a tuple of the concepts that the picture is to show together."""

from __future__ import annotations

from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.loaders import TextEncoder
from comfypod.emulator.sampling.denoiser import Concept

Conditioning = tuple[Concept, ...]


def _encode(_context: NodeContext, *, text: str, clip: TextEncoder) -> NodeResult:
    return NodeResult(((Concept(text, clip.adapters),),))


def _combine(_context: NodeContext, *, conditioning_1: Conditioning, conditioning_2: Conditioning) -> NodeResult:
    # The same concept twice changes nothing here; kept once, so that chains of combinations cannot grow without end.
    return NodeResult((tuple(dict.fromkeys((*conditioning_1, *conditioning_2))),))


TEXT_ENCODE = NodeClass(
    name="CLIPTextEncode",
    run=_encode,
    required={"text": Input("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": Input("CLIP")},
    outputs=("CONDITIONING",),
    display_name="CLIP Text Encode (Prompt)",
    category="conditioning",
)

COMBINE = NodeClass(
    name="ConditioningCombine",
    run=_combine,
    required={"conditioning_1": Input("CONDITIONING"), "conditioning_2": Input("CONDITIONING")},
    outputs=("CONDITIONING",),
    display_name="Conditioning (Combine)",
    category="conditioning",
)

NODES = (TEXT_ENCODE, COMBINE)

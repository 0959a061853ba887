"""The built-in engine's denoiser: the exact posterior mean over a small gallery of pictures, with guidance.

For development and tests; not a model: nothing was learned, the pictures are those of `comfypod.emulator.gallery`.

If the clean picture is known to be one of x_1 … x_n, and z = x + sigma * noise is seen, the best guess (least squared
error) is D(z; sigma) = sum w_i x_i with w_i proportional to exp(-|z - x_i|^2 / (2 sigma^2)): a blend of all at high
noise, one of them at low noise. Three things are added, each in closed form:

- Where exactly a picture lies is uncertain too, within a Gaussian whose width shrinks with sigma; the mean over such
  shifts is the picture, blurred. One evaluation narrows it to no less than `_SHARPENING` of what it was, so that
  few steps leave the picture soft.
- Guidance combines estimates around the mean of all pictures, which is taken as mid-grey (zero):
  D = gain(cfg) * D_positive - push(cfg) * D_negative. The gain is 1 at cfg 7. Without guidance some doubt between the
  pictures remains.
- For image to image the pictures are blends of the source and the gallery, so that the source's structure is kept.

Noise is measured in units of the gallery's own spread: pictures lie about four units apart, and the choice among them
is made in the middle of the usual schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from comfypod.emulator.gallery.picture import draw_picture, read_prompt, stable_generator
from comfypod.emulator.sampling.latents import CELL, FloatArray, encode_picture

_VARIANTS = 12
_LARGE_VARIANTS = 6
_LARGE_PIXELS = 1_200_000
"""Pictures of more pixels than this have fewer variants, to keep memory modest."""

_NEGATIVE_VARIANTS = 4
_DISTANCE = 4.0
"""How many units of noise two pictures of a gallery lie apart."""

_CRISP_CFG = 7.0
_SOFTEST = 0.055
"""Blur at the highest noise, as a share of the picture's shorter side."""

_SHARPENING = 0.65
_SHARP_BELOW = 0.3
"""Blur radius in pixels that is not worth applying."""

LIMIT_CONCEPTS = 8


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA: a shift of palette and contrast that follows from its name."""

    name: str
    strength: float


@dataclass(frozen=True, slots=True)
class Concept:
    """What one CLIPTextEncode means: a prompt, and the LoRAs its text encoder carries, which change the composition."""

    text: str
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint by name; another name composes the same prompt differently."""

    name: str
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class _Gallery:
    """Variants of one concept: ``pictures`` uint8 ``[n, H, W, 3]`` and their samples ``[n, 4 * h * w]``."""

    pictures: npt.NDArray[np.uint8]
    codes: FloatArray


def _draw_gallery(
    concept: Concept, model: Model, *, size: tuple[int, int], key: str, count: int, check: Callable[[], None]
) -> _Gallery:
    """Draw ``count`` variants of a concept; ``key`` makes them those of one seed and batch item."""
    scene = read_prompt(concept.text)
    pictures = np.empty((count, size[1], size[0], 3), dtype=np.uint8)
    codes = np.empty((count, 4 * (size[0] // CELL) * (size[1] // CELL)), dtype=np.float32)
    for index in range(count):
        check()
        variation = f"{model.name}|{concept.adapters}|{key}|{index}"
        picture = _adapted(draw_picture(scene, *size, variation), model.adapters)
        pictures[index] = np.asarray(picture)
        codes[index] = encode_picture(_to_signed(pictures[index])).ravel()
    return _Gallery(pictures, codes)


def _adapted(picture: Image.Image, adapters: Sequence[Adapter]) -> Image.Image:
    """Apply each LoRA's shift of palette and contrast."""
    for adapter in adapters:
        if adapter.strength:
            picture = picture.convert("RGB", _colour_matrix(adapter))
    return picture


def _colour_matrix(adapter: Adapter) -> tuple[float, ...]:
    """A turn of the hue around grey with a change of contrast, as rows of red, green, blue and offset."""
    random = stable_generator("adapter", adapter.name)
    strength = max(-3.0, min(3.0, adapter.strength))
    angle = np.radians(random.choice((-1, 1)) * random.uniform(30, 80)) * strength
    contrast = 1 + strength * random.uniform(0.05, 0.25) * random.choice((-1, 1))
    third, root = (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + third + root * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    rows = np.hstack([contrast * turn, np.full((3, 1), 128 * (1 - contrast))])
    return tuple(float(value) for value in rows.ravel())


def _to_signed(picture: npt.NDArray[np.uint8]) -> FloatArray:
    return picture.astype(np.float32) / np.float32(127.5) - np.float32(1)


class ItemDenoiser:
    """The denoiser of one batch item. Each call may sharpen: make one for every run, and call it in the run's order."""

    def __init__(
        self,
        model: Model,
        positive: Sequence[Concept],
        negative: Sequence[Concept],
        *,
        size: tuple[int, int],
        key: str,
        cfg: float,
        source: FloatArray | None,
        denoise: float,
        check: Callable[[], None],
    ) -> None:
        """Draw the galleries.

        Args:
            model: the checkpoint.
            positive: what the picture shows; several concepts are averaged, as ComfyUI's ConditioningCombine does.
            negative: what it should move away from.
            size: width and height in pixels, multiples of 8.
            key: names the seed and the batch item.
            cfg: guidance.
            source: picture ``[H, W, 3]`` (-1..1) of image to image, or None.
            denoise: 0..1; how much of the gallery may replace the source.
            check: called before each picture; may raise to stop.

        Raises:
            ValueError: more concepts than `LIMIT_CONCEPTS`, or none.
        """
        count = _VARIANTS if size[0] * size[1] <= _LARGE_PIXELS else _LARGE_VARIANTS
        self._galleries = [
            _draw_gallery(c, model, size=size, key=key, count=count, check=check) for c in _distinct(positive)
        ]
        small = (max(CELL, size[0] // CELL**2 * CELL), max(CELL, size[1] // CELL**2 * CELL))
        repelling = [concept for concept in _distinct(negative) if concept.text.strip()]
        self._repelled = [
            _draw_gallery(c, model, size=small, key=key, count=_NEGATIVE_VARIANTS, check=check) for c in repelling
        ]
        self._known = [read_prompt(concept.text).is_understood for concept in repelling]
        self.spread = max(1e-3, float(np.mean([_spread(gallery.codes) for gallery in self._galleries])))
        self._source = source
        shares = (1.0,) if source is None else (denoise**2, denoise)
        self._shares = np.array(shares, dtype=np.float32)
        self._candidates = [self._candidates_of(gallery.codes) for gallery in self._galleries]
        self._cfg = cfg
        self._size = size
        self._softness = float("inf")

    def estimate(self, latent: FloatArray, sigma: float) -> FloatArray:
        """The best guess of the clean picture.

        Args:
            latent: samples ``[4, h, w]`` with noise of ``sigma`` times `spread` on them.
            sigma: the noise level in units of `spread`.

        Returns:
            A picture ``[H, W, 3]``, -1..1.
        """
        self._softness = max(self._blur_at(sigma), _SHARPENING * self._softness if np.isfinite(self._softness) else 0.0)
        picture = np.zeros((self._size[1], self._size[0], 3), dtype=np.float32)
        for gallery, (codes, evidence) in zip(self._galleries, self._candidates, strict=True):
            weights = _posterior(codes, latent.ravel(), sigma * self.spread, evidence)
            self._add_mean(picture, gallery.pictures, weights.reshape(len(self._shares), -1))
        picture /= len(self._galleries)
        picture *= np.float32((self._cfg / _CRISP_CFG) ** 0.5)
        for gallery, is_known in zip(self._repelled, self._known, strict=True):
            picture -= self._repulsion(gallery, latent, sigma, is_known=is_known)
        return np.clip(picture, -1, 1, out=picture)

    def _blur_at(self, sigma: float) -> float:
        """Radius in pixels of what is unknown about places at a noise level."""
        return float(_SOFTEST * min(self._size) * (sigma / (sigma + 3)) ** 2)

    def _candidates_of(self, codes: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """What the clean latent may be, share by share, and what the source says about it (logarithms of weights).

        Without a source, these are the pictures of the gallery. With one, they are its blends with them, and the source
        counts as one more look at the picture, with noise of one unit on it: compositions that fit it are preferred.
        """
        if self._source is None:
            return codes, None
        source = encode_picture(self._source).ravel()
        blends = np.concatenate([source + share * (codes - source) for share in self._shares])
        evidence = -_squared_distances(codes, source) / np.float32(2 * self.spread**2)
        return blends, np.tile(evidence, len(self._shares))

    def _add_mean(self, picture: FloatArray, gallery: npt.NDArray[np.uint8], weights: FloatArray) -> None:
        """Add the mean of a gallery and the source to ``picture``; weights are ``[shares, pictures]``."""
        doubt = np.float32(0.5 * max(0.0, 1 - self._cfg / 5))
        weights = (1 - doubt) * weights + doubt * weights.mean(axis=1, keepdims=True)
        mean = _blend(gallery, self._shares @ weights)
        picture += _blurred(mean, self._softness)
        if self._source is not None:
            picture += ((1 - self._shares) @ weights).sum() * self._source

    def _repulsion(self, gallery: _Gallery, latent: FloatArray, sigma: float, *, is_known: bool) -> FloatArray:
        """What the negative prompt takes away: its posterior mean, softened, so that colours go but no ghost stays."""
        height, width = gallery.pictures.shape[1:3]
        columns = np.linspace(0, latent.shape[2] - 1, width // CELL).round().astype(int)
        rows = np.linspace(0, latent.shape[1] - 1, height // CELL).round().astype(int)
        seen = latent[:, rows][:, :, columns]
        mean = _blend(gallery.pictures, _posterior(gallery.codes, seen.ravel(), sigma * self.spread))
        image = Image.fromarray(_to_bytes(mean)).filter(ImageFilter.GaussianBlur(0.1 * min(mean.shape[:2])))
        soft = np.asarray(image.resize(self._size, Image.Resampling.BICUBIC))
        push = (0.3 if is_known else 0.08) * self._cfg / _CRISP_CFG / len(self._repelled)
        return np.float32(min(push, 1.0)) * _to_signed(soft)


def _distinct(concepts: Sequence[Concept]) -> list[Concept]:
    """Each concept once.

    Raises:
        ValueError: more than `LIMIT_CONCEPTS`, or none.
    """
    distinct = list(dict.fromkeys(concepts))
    if not 0 < len(distinct) <= LIMIT_CONCEPTS:
        raise ValueError(
            f"the built-in engine takes 1 to {LIMIT_CONCEPTS} different prompts together, not {len(distinct)}"
        )
    return distinct


def _spread(codes: FloatArray) -> float:
    """The size of one unit of noise: the typical distance between two pictures, divided by `_DISTANCE`."""
    centred = codes - codes.mean(axis=0)
    mean_square = float(np.mean(np.einsum("nd,nd->n", centred, centred)))
    return float((2 * mean_square) ** 0.5) / _DISTANCE


def _squared_distances(codes: FloatArray, latent: FloatArray) -> FloatArray:
    return np.array([float(np.dot(gap, gap)) for gap in codes - latent], dtype=np.float32)


def _posterior(codes: FloatArray, latent: FloatArray, sigma: float, evidence: FloatArray | None = None) -> FloatArray:
    """Weights of the candidates given a noisy latent; they sum to 1. ``evidence`` is added to their logarithms."""
    logarithms = -_squared_distances(codes, latent) / np.float32(2 * sigma**2)
    if evidence is not None:
        logarithms = logarithms + evidence
    weights = np.exp(logarithms - np.max(logarithms))
    return np.asarray(weights / weights.sum())


def _blend(pictures: npt.NDArray[np.uint8], weights: FloatArray) -> FloatArray:
    """The weighted sum of pictures ``[n, H, W, 3]``, each taken as -1..1."""
    total = np.zeros(pictures.shape[1:], dtype=np.float32)
    scaled = np.empty_like(total)
    for picture, weight in zip(pictures, weights, strict=True):
        np.multiply(picture, np.float32(weight / 127.5), out=scaled)
        total += scaled
    total -= np.float32(weights.sum())
    return total


def _blurred(picture: FloatArray, radius: float) -> FloatArray:
    """A Gaussian blur of ``radius`` pixels, in eight bits."""
    if radius < _SHARP_BELOW:
        return picture
    scale = max(1e-6, float(np.abs(picture).max()))
    image = Image.fromarray(_to_bytes(picture / np.float32(scale))).filter(ImageFilter.GaussianBlur(radius))
    return _to_signed(np.asarray(image)) * np.float32(scale)


def _to_bytes(picture: FloatArray) -> npt.NDArray[np.uint8]:
    return ((np.clip(picture, -1, 1) + 1) * 127.5 + 0.5).astype(np.uint8)

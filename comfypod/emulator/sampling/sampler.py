"""KSampler of the built-in engine: schedules, samplers and guidance around a closed-form denoiser.

For development and tests; not a model. The sampling is real: a latent full of noise is moved along a schedule of
falling noise levels, one evaluation of `comfypod.emulator.sampling.denoiser` after the other, and progress, previews
and interruption are those of the work itself. The same inputs give the same picture bit for bit on one machine.

The update rules follow the papers: Karras et al. 2022 (euler, heun, dpm_2), DDIM (Song et al. 2021), DPM-Solver++ 2M
(Lu et al. 2022), ancestral sampling (Ho et al. 2020) and latent consistency (Luo et al. 2023). With noise measured as
sigma, DDIM and Euler are the same step written differently, in ComfyUI too. Names without a rule of their own use that
of their nearest kin; `SAMPLERS` says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from PIL import Image

from comfypod.emulator.sampling.denoiser import Concept, ItemDenoiser, Model
from comfypod.emulator.sampling.latents import CELL, FloatArray, check_size, encode_picture, from_latent, to_latent
from comfypod.emulator.sampling.schedules import DoubleArray, noise_levels

PREVIEW_PIXELS = 512
"""Longer side of a preview: ComfyUI's default for ``--preview-size``; smaller previews are scaled up to it."""

_DROPS_PENULTIMATE = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""``KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS`` of ComfyUI 0.3.64 (``comfy/samplers.py``)."""

Evaluate = Callable[[FloatArray, float], FloatArray]
Noise = Callable[[], FloatArray]
Steps = Iterator[FloatArray]


class SamplingContext(Protocol):
    """What a run asks of the engine: a part of `comfypod.emulator.nodes.base.NodeContext`, which says more."""

    @property
    def previews_wanted(self) -> bool:
        """Whether anybody would see a preview."""

    def check_interrupted(self) -> None:
        """Raise if the prompt was interrupted."""

    def report_progress(self, value: int, maximum: int, preview: Image.Image | None = None) -> None:
        """Tell of a step that is done; raises as `check_interrupted` does."""


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """What KSampler's widgets say."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str = "euler"
    scheduler: str = "normal"
    denoise: float = 1.0


def sample(
    model: Model,
    positive: Sequence[Concept],
    negative: Sequence[Concept],
    *,
    latent: Mapping[str, Any],
    settings: SamplerSettings,
    context: SamplingContext,
) -> dict[str, Any]:
    """Denoise a latent; a source picture in it is kept as far as ``denoise`` says.

    Reports progress, with a preview if one is wanted, after each step.

    Returns:
        A latent of the same size.

    Raises:
        InterruptedByUserError: the prompt was interrupted; at most one step late.
        MemoryError: the batch is too large; see `comfypod.emulator.sampling.latents.check_size`.
        ValueError: too many prompts are combined.
    """
    drops = settings.sampler_name in _DROPS_PENULTIMATE
    levels = noise_levels(settings.scheduler, settings.steps, settings.denoise, drop_penultimate=drops)
    if len(levels) < 2:
        return dict(latent)
    run = _Run(model, positive, negative, latent=latent, settings=settings, context=context)
    start = run.noisy_start(float(levels[0]))
    steps = SAMPLERS[settings.sampler_name](run.evaluate, start, levels, run.fresh_noise)
    for number, _ in enumerate(steps, start=1):
        preview = run.preview() if context.previews_wanted else None
        context.report_progress(number, len(levels) - 1, preview)
    return {**latent, **to_latent(run.pictures)}


class _Run:
    """One run of KSampler: a denoiser per batch item, the noise, and the newest estimates of the clean pictures.

    Latents in here are in units of noise: the samples divided by the spread of each item's gallery.
    """

    def __init__(
        self,
        model: Model,
        positive: Sequence[Concept],
        negative: Sequence[Concept],
        *,
        latent: Mapping[str, Any],
        settings: SamplerSettings,
        context: SamplingContext,
    ) -> None:
        samples: FloatArray = latent["samples"]
        batch, _, rows, columns = samples.shape
        check_size(batch, rows * CELL, columns * CELL)
        sources = from_latent(latent) if settings.denoise <= 0.9999 and np.any(samples) else None
        self._check = context.check_interrupted
        self._samples = samples
        self._random = np.random.default_rng(settings.seed)
        self._denoisers = [
            ItemDenoiser(
                model,
                positive,
                negative,
                size=(columns * CELL, rows * CELL),
                key=f"{settings.seed}|{item}",
                cfg=settings.cfg,
                source=None if sources is None else sources[item],
                denoise=settings.denoise,
                check=context.check_interrupted,
            )
            for item in range(batch)
        ]
        spreads = np.array([denoiser.spread for denoiser in self._denoisers], dtype=np.float32)
        self._spreads = spreads.reshape(-1, 1, 1, 1)
        self.pictures = np.zeros((batch, rows * CELL, columns * CELL, 3), dtype=np.float32)

    def noisy_start(self, sigma: float) -> FloatArray:
        """The latent the run starts from."""
        return np.asarray(self._samples / self._spreads + np.float32(sigma) * self.fresh_noise())

    def fresh_noise(self) -> FloatArray:
        """White noise ``[B, 4, h, w]``; the first item of a batch gets what it would get alone."""
        return self._random.standard_normal(self._samples.shape, dtype=np.float32)

    def evaluate(self, latent: FloatArray, sigma: float) -> FloatArray:
        """The denoiser's best guess of the clean latent; its picture is kept in `pictures`."""
        clean = np.empty_like(latent)
        for item, denoiser in enumerate(self._denoisers):
            if item:
                self._check()
            self.pictures[item] = denoiser.estimate(latent[item] * self._spreads[item], sigma)
            clean[item] = encode_picture(self.pictures[item]) / self._spreads[item]
        return clean

    def preview(self) -> Image.Image:
        """The newest estimate of the first picture, as ComfyUI shows it."""
        return scaled_preview(picture_image(self.pictures[0]))


def picture_image(picture: FloatArray) -> Image.Image:
    """A picture ``[H, W, 3]`` (-1..1) as an RGB image."""
    return Image.fromarray(((np.clip(picture, -1, 1) + 1) * 127.5 + 0.5).astype(np.uint8))


def scaled_preview(image: Image.Image, longest: int = PREVIEW_PIXELS) -> Image.Image:
    """Scale an image up or down until its longer side has ``longest`` pixels."""
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _euler(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, _noise: Noise) -> Steps:
    """Follow the slope at the start of each step."""
    for here, there in _pairs(levels):
        slope = (latent - evaluate(latent, here)) / np.float32(here)
        latent = latent + slope * np.float32(there - here)
        yield latent


def _ddim(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, _noise: Noise) -> Steps:
    """Keep the noise that is found and put it on the clean estimate at the next level."""
    for here, there in _pairs(levels):
        clean = evaluate(latent, here)
        latent = clean + np.float32(there / here) * (latent - clean)
        yield latent


def _heun(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, _noise: Noise) -> Steps:
    """Average the slopes at both ends of each step; two evaluations, but for the last step."""
    for here, there in _pairs(levels):
        slope = (latent - evaluate(latent, here)) / np.float32(here)
        ahead = latent + slope * np.float32(there - here)
        if there > 0:
            slope = (slope + (ahead - evaluate(ahead, there)) / np.float32(there)) / 2
            ahead = latent + slope * np.float32(there - here)
        latent = ahead
        yield latent


def _dpm_2(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, _noise: Noise) -> Steps:
    """Take the slope in the (logarithmic) middle of each step; two evaluations, but for the last step."""
    for here, there in _pairs(levels):
        slope = (latent - evaluate(latent, here)) / np.float32(here)
        if there > 0:
            middle = math.sqrt(here * there)
            between = latent + slope * np.float32(middle - here)
            slope = (between - evaluate(between, middle)) / np.float32(middle)
        latent = latent + slope * np.float32(there - here)
        yield latent


def _euler_ancestral(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, noise: Noise) -> Steps:
    """Step further down than asked, and put fresh noise on."""
    for here, there in _pairs(levels):
        clean = evaluate(latent, here)
        fresh = min(there, math.sqrt(there**2 * (here**2 - there**2)) / here)
        down = math.sqrt(there**2 - fresh**2)
        latent = clean + np.float32(down / here) * (latent - clean)
        if fresh > 0:
            latent = latent + np.float32(fresh) * noise()
        yield latent


def _dpmpp_2m(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, _noise: Noise) -> Steps:
    """Extrapolate from this and the last clean estimate, in steps of the logarithm of sigma."""
    previous: FloatArray | None = None
    previous_width = 0.0
    for here, there in _pairs(levels):
        clean = evaluate(latent, here)
        width = math.log(here / there) if there > 0 else 0.0
        goal = clean
        if previous is not None and width > 0 and previous_width > 0:
            lead = np.float32(width / (2 * previous_width))
            goal = (1 + lead) * clean - lead * previous
        latent = np.float32(there / here) * latent + np.float32(1 - there / here) * goal
        previous, previous_width = clean, width
        yield latent


def _lcm(evaluate: Evaluate, latent: FloatArray, levels: DoubleArray, noise: Noise) -> Steps:
    """Jump to the clean estimate, then put all the noise of the next level on it."""
    for here, there in _pairs(levels):
        latent = evaluate(latent, here)
        if there > 0:
            latent = latent + np.float32(there) * noise()
        yield latent


def _pairs(levels: DoubleArray) -> Iterator[tuple[float, float]]:
    return pairwise(float(level) for level in levels)


# The names and their order are ComfyUI 0.8.0's. Those that have no rule of their own here use that of the nearest kin:
# stochastic ones ancestral sampling, multistep ones DPM-Solver++ 2M, and so on.
SAMPLERS: dict[str, Callable[[Evaluate, FloatArray, DoubleArray, Noise], Steps]] = {
    "euler": _euler,
    "euler_cfg_pp": _euler,
    "euler_ancestral": _euler_ancestral,
    "euler_ancestral_cfg_pp": _euler_ancestral,
    "heun": _heun,
    "heunpp2": _heun,
    "exp_heun_2_x0": _heun,
    "exp_heun_2_x0_sde": _euler_ancestral,
    "dpm_2": _dpm_2,
    "dpm_2_ancestral": _euler_ancestral,
    "lms": _dpmpp_2m,
    "dpm_fast": _dpm_2,
    "dpm_adaptive": _dpm_2,
    "dpmpp_2s_ancestral": _euler_ancestral,
    "dpmpp_2s_ancestral_cfg_pp": _euler_ancestral,
    "dpmpp_sde": _euler_ancestral,
    "dpmpp_sde_gpu": _euler_ancestral,
    "dpmpp_2m": _dpmpp_2m,
    "dpmpp_2m_cfg_pp": _dpmpp_2m,
    "dpmpp_2m_sde": _euler_ancestral,
    "dpmpp_2m_sde_gpu": _euler_ancestral,
    "dpmpp_2m_sde_heun": _euler_ancestral,
    "dpmpp_2m_sde_heun_gpu": _euler_ancestral,
    "dpmpp_3m_sde": _euler_ancestral,
    "dpmpp_3m_sde_gpu": _euler_ancestral,
    "ddpm": _euler_ancestral,
    "lcm": _lcm,
    "ipndm": _dpmpp_2m,
    "ipndm_v": _dpmpp_2m,
    "deis": _dpmpp_2m,
    "res_multistep": _dpmpp_2m,
    "res_multistep_cfg_pp": _dpmpp_2m,
    "res_multistep_ancestral": _euler_ancestral,
    "res_multistep_ancestral_cfg_pp": _euler_ancestral,
    "gradient_estimation": _dpmpp_2m,
    "gradient_estimation_cfg_pp": _dpmpp_2m,
    "er_sde": _euler_ancestral,
    "seeds_2": _euler_ancestral,
    "seeds_3": _euler_ancestral,
    "sa_solver": _euler_ancestral,
    "sa_solver_pece": _euler_ancestral,
    "ddim": _ddim,
    "uni_pc": _dpmpp_2m,
    "uni_pc_bh2": _dpmpp_2m,
}
SAMPLER_NAMES = tuple(SAMPLERS)

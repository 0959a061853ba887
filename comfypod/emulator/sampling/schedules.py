"""Noise schedules under the names that ComfyUI lists, for the model range of Stable Diffusion 1 and XL.

A schedule is a falling list of noise levels (sigma, standard deviation of the noise in units of the data) that ends
in 0. The formulas are those of ComfyUI 0.3.64 (``comfy/samplers.py``, ``comfy/k_diffusion/sampling.py``); names and
their order are what ``/object_info`` shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

_TIMESTEPS = 1000
_LONGEST_SCHEDULE = 1_000_000  # A denoise of 1e-12 must not ask for 1e13 levels.


def _model_sigmas() -> DoubleArray:
    """The 1000 noise levels the models were trained on: "scaled linear" betas from 0.00085 to 0.012."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, _TIMESTEPS) ** 2
    kept = np.cumprod(1 - betas)
    return np.asarray(((1 - kept) / kept) ** 0.5)


MODEL_SIGMAS = _model_sigmas()
SIGMA_MINIMUM, SIGMA_MAXIMUM = float(MODEL_SIGMAS[0]), float(MODEL_SIGMAS[-1])


def _at_timesteps(timesteps: DoubleArray) -> DoubleArray:
    return np.asarray(np.exp(np.interp(timesteps, np.arange(_TIMESTEPS), np.log(MODEL_SIGMAS))))


def _simple(steps: int) -> DoubleArray:
    return MODEL_SIGMAS[[-(1 + int(step * _TIMESTEPS / steps)) for step in range(steps)]]


def _sgm_uniform(steps: int) -> DoubleArray:
    return _at_timesteps(np.linspace(_TIMESTEPS - 1, 0, steps + 1)[:-1])


def _karras(steps: int) -> DoubleArray:
    power = 7.0
    start, end = SIGMA_MAXIMUM ** (1 / power), SIGMA_MINIMUM ** (1 / power)
    return np.linspace(start, end, steps) ** power


def _exponential(steps: int) -> DoubleArray:
    return np.exp(np.linspace(np.log(SIGMA_MAXIMUM), np.log(SIGMA_MINIMUM), steps))


def _ddim_uniform(steps: int) -> DoubleArray:
    """May give one step more or less than asked for, as in ComfyUI."""
    return MODEL_SIGMAS[1 :: max(_TIMESTEPS // steps, 1)][::-1]


def _beta(steps: int) -> DoubleArray:
    """Timesteps at the quantiles of a Beta(0.6, 0.6) distribution (arXiv 2407.12173); repeated ones are dropped."""
    middles = (np.arange(20_000) + 0.5) / 20_000
    cumulative = np.cumsum((middles * (1 - middles)) ** -0.4)
    quantiles = np.interp(1 - np.arange(steps) / steps, cumulative / cumulative[-1], middles)
    timesteps = np.unique(np.rint(quantiles * (_TIMESTEPS - 1)).astype(int))
    return np.asarray(MODEL_SIGMAS[timesteps[::-1]])


def _normal(steps: int) -> DoubleArray:
    return _at_timesteps(np.linspace(_TIMESTEPS - 1, 0, steps))


def _linear_quadratic(steps: int) -> DoubleArray:
    """First half linear down to 0.975 of the range, then quadratic."""
    if steps == 1:
        return np.array([SIGMA_MAXIMUM])
    threshold, linear_steps = 0.025, steps // 2
    quadratic_steps = steps - linear_steps
    difference = linear_steps - threshold * steps
    quadratic = difference / (linear_steps * quadratic_steps**2)
    linear = threshold / linear_steps - 2 * difference / quadratic_steps**2
    late = np.arange(linear_steps, steps)
    early = np.arange(linear_steps) * threshold / linear_steps
    rise = np.concatenate([early, quadratic * late**2 + linear * late + quadratic * linear_steps**2])
    return np.asarray((1 - rise) * SIGMA_MAXIMUM)


def _kl_optimal(steps: int) -> DoubleArray:
    share = np.linspace(0, 1, steps)
    return np.asarray(np.tan(share * np.arctan(SIGMA_MINIMUM) + (1 - share) * np.arctan(SIGMA_MAXIMUM)))


_SCHEDULES: dict[str, Callable[[int], DoubleArray]] = {
    "simple": _simple,
    "sgm_uniform": _sgm_uniform,
    "karras": _karras,
    "exponential": _exponential,
    "ddim_uniform": _ddim_uniform,
    "beta": _beta,
    "normal": _normal,
    "linear_quadratic": _linear_quadratic,
    "kl_optimal": _kl_optimal,
}
SCHEDULER_NAMES = tuple(_SCHEDULES)


def noise_levels(scheduler: str, steps: int, denoise: float = 1.0, *, drop_penultimate: bool = False) -> DoubleArray:
    """The noise levels that ``steps`` steps pass through; the last one is 0.

    With ``denoise`` below 1, the last ``steps`` steps of a longer schedule; with ``denoise`` 0, nothing at all.
    ``drop_penultimate`` leaves out the level before 0, which ComfyUI does for samplers that look between levels.

    Raises:
        KeyError: there is no scheduler of that name.
    """
    if denoise <= 0:
        return np.zeros(0)
    asked = steps if denoise > 0.9999 else min(int(steps / denoise), max(steps, _LONGEST_SCHEDULE))
    levels = np.append(_SCHEDULES[scheduler](asked + drop_penultimate), 0.0)
    if drop_penultimate:
        levels = np.delete(levels, -2)
    return levels if denoise > 0.9999 else levels[-(steps + 1) :]

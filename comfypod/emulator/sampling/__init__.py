"""The built-in engine's sampler: a closed-form denoiser over the gallery, its schedules and its picture code."""

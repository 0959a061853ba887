# The worker's image: CUDA, torch, ComfyUI at the pinned commit, and this package. Models come from a network volume.
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04
FROM ${CUDA_IMAGE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/venv/bin:${PATH}

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git libgl1 libglib2.0-0 libtcmalloc-minimal4t64 python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.12 -m venv /venv

# One set that loads together: an unpinned one does not (docs/explanation/dependencies.md). The file also keeps every
# later install from replacing it.
COPY constraints.txt /app/constraints.txt
ENV PIP_CONSTRAINT=/app/constraints.txt
# hadolint ignore=DL3013
RUN pip install torch torchvision torchaudio xformers

# The same commit as in ComfyUI/comfyui.toml; a test compares them.
ARG COMFYUI_REPOSITORY=https://github.com/comfyanonymous/ComfyUI
ARG COMFYUI_COMMIT=637221995f7424a561bd825de3e61ea117dfe1e3
WORKDIR /comfyui
RUN git init --quiet . \
    && git fetch --quiet --depth 1 "${COMFYUI_REPOSITORY}" "${COMFYUI_COMMIT}" \
    && git checkout --quiet FETCH_HEAD \
    && pip install --requirement requirements.txt

WORKDIR /app
COPY requirements.txt /app/
RUN pip install --requirement requirements.txt
COPY custom_nodes /comfyui/custom_nodes/
COPY ComfyUI /app/ComfyUI/
COPY workflows /app/workflows/
COPY comfypod /app/comfypod/
COPY rp_handler.py start.sh models.toml test_input.json /app/
COPY custom_nodes/nodes.toml /app/custom_nodes/
# What models.toml wants at build; nothing, unless it says so. Tokens come as build secrets: docs/how-to/bring-models.md.
RUN python -m comfypod models fetch --when build --directory /comfyui/models

# Set here, so that a worker in production never falls back to the built-in engine.
ENV COMFYUI_COMMAND="/venv/bin/python /comfyui/main.py --disable-auto-launch --extra-model-paths-config /app/ComfyUI/extra_model_paths.yaml"
CMD ["/app/start.sh"]

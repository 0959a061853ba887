# The worker's image. Every argument has a default, for builders that pass none.
#
#   docker build --platform linux/amd64 -t worker .                          with the default template's model
#   docker build --platform linux/amd64 -t worker --target base .            without any model
#   docker build … --build-arg CUDA_VERSION=13.0.2                           newest torch, without xformers; driver 580
#
# Stages: runtime -> smoke -> base -> default. To add node packs and models, build FROM base: docs/how-to/build-your-own-image.md
ARG CUDA_VERSION=12.8.1
# What is needed of CUDA besides the driver comes with torch, so that the small flavour is enough.
ARG CUDA_IMAGE=nvidia/cuda:${CUDA_VERSION}-base-ubuntu24.04

FROM ${CUDA_IMAGE} AS runtime
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PATH=/venv/bin:${PATH} \
    VIRTUAL_ENV=/venv \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1 \
    PYTHONUNBUFFERED=1

# git: for node packs in images that derive from this one.
ARG PYTHON=python3.12
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates git libgl1 libglib2.0-0 libtcmalloc-minimal4 "${PYTHON}" "${PYTHON}-venv" \
    && rm -rf /var/lib/apt/lists/* \
    && "${PYTHON}" -m venv /venv \
    && echo /app > "$(python -c 'import site; print(site.getsitepackages()[0])')/comfypod.pth"

WORKDIR /app
COPY image/uv.txt image/
RUN pip install --require-hashes --requirement image/uv.txt

# One set that loads together, for each CUDA: an unpinned one does not (docs/explanation/dependencies.md). Its versions also
# bind every later install, here and in derived images.
ARG CUDA_VERSION
ARG TORCH_SET=""
COPY image/torch image/torch/
COPY image/self_test.py image/
RUN set="${TORCH_SET:-cu$(echo "${CUDA_VERSION}" | cut -d. -f1,2 | tr -d .)}" \
    && cp "image/torch/${set}.in" image/constraints.txt \
    && uv pip install --require-hashes --only-binary :all: --requirement "image/torch/${set}.txt" \
    && python image/self_test.py image/constraints.txt
ENV UV_CONSTRAINT=/app/image/constraints.txt \
    PIP_CONSTRAINT=/app/image/constraints.txt

# ComfyUI at the commit that is pinned; without its history. A branch is fetched, too, but checked out only by commit.
ARG COMFYUI_REPOSITORY=""
COPY ComfyUI/comfyui.toml ComfyUI/
WORKDIR /app/ComfyUI
RUN pinned() { python -c 'import sys, tomllib; print(tomllib.load(open("comfyui.toml", "rb"))[sys.argv[1]])' "$1"; } \
    && repository="${COMFYUI_REPOSITORY:-$(pinned repository)}" \
    && commit="$(pinned commit)" \
    && git init --quiet . \
    && timeout 600 git fetch --quiet --depth 1 "${repository}" "${commit}" \
    && git checkout --quiet "${commit}" \
    && rm -rf .git \
    && python -m compileall -q .

# What ComfyUI, the node packs and the worker need, resolved together: `comfypod nodes lock`.
WORKDIR /app
COPY image/requirements.txt image/
RUN uv pip install --require-hashes --no-deps --requirement image/requirements.txt \
    && python image/self_test.py image/constraints.txt

COPY comfypod comfypod/
COPY image/comfypod /venv/bin/
COPY custom_nodes custom_nodes/
# Packs have files that are no Python of this version, which nobody imports.
RUN python -m compileall -q comfypod \
    && comfypod nodes install --directory ComfyUI/custom_nodes \
    && { python -m compileall -qq ComfyUI/custom_nodes || true; }
COPY workflows workflows/
COPY models.toml rp_handler.py handler.py start.sh test_input.json ./

# In production a worker without a GPU is a mistake, and the built-in engine is none at all. The SDK's own checks would
# import torch a second time, into the handler, and keep a part of the GPU's memory for good: docs/explanation/boot.md
ENV COMFYPOD_CUDA_VERSION=${CUDA_VERSION} \
    REQUIRE_GPU=true \
    FAST_PNG=true \
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true \
    HF_XET_HIGH_PERFORMANCE=1 \
    HF_HUB_DISABLE_TELEMETRY=1

# On the CPU, with every node pack: what does not load, or is missing, fails the build here.
FROM runtime AS smoke
RUN REQUIRE_GPU=false comfypod smoke > /smoke.txt

FROM runtime AS base
COPY --from=smoke /smoke.txt /app/image/
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="comfypod" \
      org.opencontainers.image.description="Runs ComfyUI workflows on RunPod Serverless." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["/app/start.sh"]

# One layer per model file: a line for each; the last line brings what models.toml wants at build besides.
# For builders that have a mirror: HF_ENDPOINT, and DOWNLOAD_ALLOWED_HOSTS if it is private.
FROM base AS default
ARG HF_ENDPOINT=https://huggingface.co
ARG DOWNLOAD_ALLOWED_HOSTS=""
RUN comfypod models fetch sd_xl_base_1.0.safetensors --directory /app/ComfyUI/models
# hadolint ignore=DL3059
RUN comfypod models fetch --when build --directory /app/ComfyUI/models

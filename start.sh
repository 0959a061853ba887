#!/usr/bin/env bash
# What must come before Python; then the worker takes this process's place, so that it gets SIGTERM itself.
# Only bash's own words where they suffice: every program that is started delays ComfyUI.
set -euo pipefail

export COMFYPOD_STARTED="${EPOCHREALTIME/,/.}" # some languages write a comma
cd -- "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}." # /app/start.sh: /app/.

# A smaller heap after large results: glibc's allocator keeps what it once had.
for allocator in /usr/lib/*/libtcmalloc_minimal.so.4; do
  if [[ -e "${allocator}" ]]; then
    export LD_PRELOAD="${allocator}${LD_PRELOAD:+:${LD_PRELOAD}}"
    break
  fi
done

# RunPod mounts a volume at /runpod-volume on serverless workers, and at /workspace on pods. What node packs download goes
# to the volume, so that the next worker finds it. A cache with something in it is the image's, and stays.
link_volume() {
  local volume=/runpod-volume cache="${HOME:-/root}/.cache"
  if [[ ! -e "${volume}" && -d /workspace ]]; then
    ln -s /workspace "${volume}" || echo "start.sh: ${volume} cannot lead to /workspace" >&2
  fi
  if [[ -d "${volume}" && -w "${volume}" && ! -L "${cache}" ]]; then
    if ! { { [[ ! -e "${cache}" ]] || rmdir "${cache}" 2>/dev/null; } \
      && mkdir -p "${volume}/.cache" && ln -s "${volume}/.cache" "${cache}"; }; then
      echo "start.sh: ${cache} stays where it is, and does not lead to ${volume}/.cache" >&2
    fi
  fi
}

# A volume whose server is gone never answers: it is asked by a process that is not waited for without end.
if read -r -t 5 < <(link_volume && echo linked); then
  wait "$!" || true # it succeeded; of one that ends just now bash (5.2) sometimes says 255
else
  echo "start.sh: the volume does not answer; what would lead there may not" >&2
fi

case "${COMFYPOD_MODE:-serverless}" in
  serverless) exec python3 -u rp_handler.py "$@" ;;
  pod) exec python3 -u -m comfypod pod "$@" ;;
  *)
    echo "configuration: COMFYPOD_MODE must be serverless or pod, not ${COMFYPOD_MODE}" >&2
    exit 1
    ;;
esac

#!/usr/bin/env bash
# What must come before Python; then the handler takes this process's place, so that it gets SIGTERM itself.
set -euo pipefail

# A smaller heap after large results: glibc's allocator keeps what it once had.
allocator=$(ldconfig -p | awk '/libtcmalloc_minimal\.so\.4 /{print $NF; exit}')
if [[ -n "${allocator}" ]]; then
  export LD_PRELOAD="${allocator}"
fi

exec python3 -u /app/rp_handler.py "$@"

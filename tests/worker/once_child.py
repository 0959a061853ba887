"""A worker with one job, for tests that kill it: ``once_child.py COMFYUI_URL SETTINGS JOB``, both as JSON."""

import asyncio
import json
import sys

from worker_jobs import make_handler

if __name__ == "__main__":
    comfyui_url, settings, job = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    print(json.dumps(asyncio.run(make_handler(comfyui_url, **settings)(job))))

"""The serverless worker: takes a job from RunPod's SDK, runs it on ComfyUI, returns what it made."""

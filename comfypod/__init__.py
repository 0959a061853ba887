"""comfypod runs ComfyUI workflows on RunPod Serverless."""

__version__ = "0.1.0"

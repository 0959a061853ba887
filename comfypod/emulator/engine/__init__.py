"""What the built-in ComfyUI engine does apart from HTTP: validate, queue, execute, keep files and tell its clients."""

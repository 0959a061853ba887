"""What a pod has beside the worker and the local RunPod in front of it: ComfyUI's own page, and the worker's words."""

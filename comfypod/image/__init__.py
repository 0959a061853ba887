"""What the worker's image is made of: the pinned ComfyUI, node packs, and one set of Python packages for all of them.

For developers and for the image's build; a running worker does not need it.
"""

"""Sound, video and tensor files, read with care and written as ComfyUI writes them.

`audio`, `video` and `reading` load FFmpeg (PyAV), which takes a tenth of a second: nodes import them when they run. No
module here knows the nodes.
"""

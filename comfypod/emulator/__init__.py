"""Servers that behave like the real ones, for development and tests: ComfyUI and RunPod.

Written from the recorded behaviour of the real servers and independent of the product: nothing of `comfypod` outside
this package is imported here, and only `comfypod.cli` imports this package. What is emulated says so in its output.
"""

"""What is in a file: looked into with care, converted, and rid of its metadata. Knows no job and no ComfyUI."""

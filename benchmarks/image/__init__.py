"""The real Dockerfile, built and run on this machine without Docker, a GPU or a registry of images."""

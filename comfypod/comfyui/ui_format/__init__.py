"""What ComfyUI's page saves, made into what its server runs. Pure."""

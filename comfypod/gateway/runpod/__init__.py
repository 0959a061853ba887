"""RunPod's own interface, served from the same requests: for clients that know nothing else."""

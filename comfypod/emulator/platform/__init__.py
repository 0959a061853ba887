"""What the local RunPod is made of: its jobs, its routes, its worker processes."""

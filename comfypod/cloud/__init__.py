"""All that is known about RunPod seen from outside: its endpoints, its jobs, and a client that waits for them."""

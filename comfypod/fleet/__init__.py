"""A simulation of RunPod's scalers over a log of requests: what settings cost, and how long callers wait with them."""

"""RunPod's pods, seen from outside: REST v2; and GraphQL for what REST has not, bids and why pods ended."""

"""``comfypod workflow …``: what a file is, whether a worker would run it, what can be set in it, its API format."""

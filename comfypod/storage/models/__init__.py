"""Model files: which there are, where they come from, and that they are here when a job needs them."""

"""Files that programs upload for their jobs, and those that jobs made."""

"""Runs, from a request to files on the disk, whatever restarts meanwhile."""

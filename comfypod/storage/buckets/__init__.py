"""Buckets: the one that results go to and inputs come from, and the ones that requests bring along."""

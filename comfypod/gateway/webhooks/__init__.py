"""Telling a program's own server that its job has ended: signed, retried, kept when it does not arrive."""

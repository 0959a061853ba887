"""The batch engine at the command line: what its commands do, and what they print."""

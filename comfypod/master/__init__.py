"""The master: takes every request once, gets it done, and has it told once."""

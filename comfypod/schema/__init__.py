"""The documents that cross a wire. Pure: no I/O but reading a template's file, no clock, no event loop."""

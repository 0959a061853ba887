"""The pictures that the built-in engine can make: a small procedural gallery, for development and tests."""

"""Measurements against the goals; each module is a command: `python -m benchmarks.store`."""

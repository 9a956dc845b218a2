"""Rates and times of the service, measured from outside: `python -m benchmarks`."""

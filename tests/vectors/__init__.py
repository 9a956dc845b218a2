"""Recorded swaps of the real programs, and the venues held against them."""

"""Verbs, a file for each stage of the flow; talks to the rest through Protocols only."""

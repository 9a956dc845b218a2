"""The chain as the service reads it: one JSON-RPC client, and the reads built on it."""

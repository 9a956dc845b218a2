"""A stand-in Solana chain on LiteSVM with its own market; it shares no code with the service."""

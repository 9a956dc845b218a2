"""Synergy7 Execution: a service that executes trading signals on Solana at most once and never loses one."""

"""The slot clock: ends a slot every so often, and has each block flushed to the disk."""

import asyncio
import time

from app.sandbox.node import Node

MANUAL_SYNC_SECONDS = 0.4


async def run_clock(node: Node, slot_ms: int, *, automatic: bool) -> None:
    """Tick for ever; without `automatic` only flush what was stepped by hand."""
    loop = asyncio.get_running_loop()
    slot_seconds = slot_ms / 1_000 if automatic else MANUAL_SYNC_SECONDS
    due = loop.time() + slot_seconds
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        # after a pause (a sleeping laptop) the chain goes on from now: no burst of blocks
        due = max(due + slot_seconds, loop.time())
        if automatic:
            node.tick(int(time.time() * 1_000))
        if node.needs_sync():
            await asyncio.to_thread(node.sync)

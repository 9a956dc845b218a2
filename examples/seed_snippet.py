"""The execution system from Python, without HTTP: submit a signal, read the order, stop."""
# ruff: noqa: ANN201, D103 - as short as somebody writes it for himself

import asyncio

from app.bootstrap import ExecutionSystem


async def main():
    system = ExecutionSystem()
    await system.initialize()
    await system.start()
    order_id = await system.submit_trading_signal(
        {
            "action": "SELL",
            "market": "SOL-USDC",
            "size": 0.01,
            "price": 180.0,
            "confidence": 0.8,
        }
    )
    status = await system.get_order_status(order_id)
    print(status)
    print(system.get_system_status())
    await system.stop()


asyncio.run(main())

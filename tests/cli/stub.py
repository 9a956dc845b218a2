"""A stand-in for the service: answers scripted documents and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ORDER_ID = "0199c0de-0000-7000-8000-000000000001"


def order(**changes: Any) -> dict[str, Any]:
    """Give a filled order's document."""
    return {
        "order_id": ORDER_ID,
        "client_order_id": None,
        "action": "SELL",
        "market": "SOL-USDC",
        "size": "0.01",
        "quote_size": None,
        "price": "180",
        "confidence": "0.8",
        "priority": 7,
        "strategy": None,
        "status": "filled",
        "reason_code": None,
        "reason": None,
        "in_doubt_since": None,
        "accepted_at": "2026-01-31T12:00:00.000000Z",
        "filled_at": "2026-01-31T12:00:00.750000Z",
        "finalized_at": None,
        "fill": {
            "base_amount": "0.01",
            "quote_amount": "1.845373",
            "average_price": "184.5373",
            "slippage_bps": "-252.07",
            "fees": {
                "network": "0.000005",
                "priority": "0.0000012",
                "tip": "0",
                "venue": "0.000025",
            },
        },
        "attempts": [
            {
                "number": 1,
                "signature": "5igna7ure",
                "status": "landed",
                "last_valid_block_height": 400,
                "landed_slot": 312,
                "error": None,
                "submissions": [
                    {
                        "method": "rpc",
                        "outcome": "accepted",
                        "reason": "ok",
                        "sent_at": "2026-01-31T12:00:00.100000Z",
                        "latency_ms": 3.2,
                    }
                ],
            }
        ],
        **changes,
    }


@dataclass
class Stub:
    """Where the stub listens, what it answers by `VERB path`, and what it was asked."""

    url: str
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Stub]:
    """Run a stub on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            stub.asked.append(f"{self.command} {self.path}")
            stub.bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
            code, document = stub.answers[f"{self.command} {self.path.partition('?')[0]}"]
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = answer  # noqa: N815 - the name that http.server calls
        do_POST = answer  # noqa: N815 - as do_GET

        def log_message(self, *_arguments: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

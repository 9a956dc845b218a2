"""A service on a thread that takes transactions over HTTP in its own way, and may hand them to a node."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass
class Relay:
    """What it was asked: target and document of each POST; and the node that it may hand things to."""

    node_url: str = ""
    url: str = ""
    asked: list[tuple[str, Json]] = field(default_factory=list)

    def hand_over(self, raw: str) -> str:
        """Give a transaction (base64) to the node; gives the signature that the node says it took."""
        params = [raw, {"encoding": "base64", "skipPreflight": True}]
        request = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params}
        answer = httpx.post(self.node_url, json=request, timeout=5, trust_env=False).json()
        return str(answer["result"])


Says = Callable[[Relay, str, Json], tuple[int, Json]]
"""Answers a POST to a target: status and document."""


@contextmanager
def relaying(says: Says) -> Iterator[Relay]:
    """Run a relay on a free port; any GET is answered with nothing."""
    relay = Relay()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            document = json.loads(body)
            relay.asked.append((self.path, document))
            self._answer(*says(relay, self.path, document))

        def do_GET(self) -> None:
            self._answer(200, {})

        def _answer(self, status: int, document: Json) -> None:
            said = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            """Say nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    relay.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

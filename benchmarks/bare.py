"""The yardstick: a bare FastAPI handler with one pydantic model, on the server that the service uses."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Signal(BaseModel):
    """A signal's fields, taken as they come."""

    action: str
    market: str
    size: float
    price: float | None = None
    confidence: float | None = None
    client_order_id: str | None = None


def create_app() -> FastAPI:
    """Make an application that validates a signal, stores nothing and answers like the service."""
    app = FastAPI()

    @app.post("/signals", status_code=202)
    async def post_signal(signal: Signal) -> dict[str, str | None]:
        return {
            "order_id": "01990000-0000-7000-8000-000000000000",
            "client_order_id": signal.client_order_id,
            "status": "queued",
            "accepted_at": "2026-01-01T00:00:00.000000Z",
        }

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {}

    return app


def main(port: int) -> None:
    """Serve on a port of this machine, as `synergy7 serve` does: no access log, uvloop, httptools."""
    uvicorn.run(
        create_app(),
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))

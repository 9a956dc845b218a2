"""The HTTP interface as an ASGI application."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.endpoint import Endpoint, Handler, internal_problem
from app.api.openapi import openapi_document
from app.api.ports import ServiceSource
from app.api.problems import Problem
from app.api.routes import docs, events, markets, methods, orders, signals, system, trading
from app.api.waits import LongAnswers
from app.domain.errors import ReasonCode

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

PATHS: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/signals": {"POST": signals.post_signal},
    "/orders": {"GET": orders.list_orders},
    "/orders/statistics": {"GET": orders.get_statistics},
    "/orders/cancel": {"POST": orders.cancel_orders},
    "/orders/{order_id}": {"GET": orders.get_order},
    "/orders/{order_id}/cancel": {"POST": orders.cancel_order},
    "/orders/{order_id}/resolve": {"POST": orders.resolve_order},
    "/orders/{order_id}/events": {"GET": events.get_order_events},
    "/events": {"GET": events.get_events},
    "/markets": {"GET": markets.list_markets},
    "/quote": {"GET": markets.get_quote},
    "/methods": {"GET": methods.list_methods},
    "/methods/{name}": {"GET": methods.get_method},
    "/methods/{name}/reset": {"POST": methods.reset_method},
    "/methods/{name}/disable": {"POST": methods.disable_method},
    "/methods/{name}/enable": {"POST": methods.enable_method},
    "/trading/halt": {"POST": trading.halt_trading},
    "/trading/resume": {"POST": trading.resume_trading},
    "/status": {"GET": system.get_status},
    "/metrics": {"GET": system.get_metrics},
    "/healthz": {"GET": system.get_health},
    "/readyz": {"GET": system.get_readiness},
    "/openapi.json": {"GET": docs.get_openapi},
    "/docs": {"GET": docs.get_docs},
    "/docs/{name}": {"GET": docs.get_asset},
}
"""What is answered where: the first path that fits is taken, so fixed ones stand before ids."""


class Api(FastAPI):
    """FastAPI's application around endpoints of our own, which read and answer without its models."""

    def openapi(self) -> dict[str, object]:
        """Give the OpenAPI document of the interface, whatever is configured."""
        return openapi_document()


def build_api(
    get_service: ServiceSource,
    *,
    version: str,
    lifespan: Lifespan | None = None,
    long_answers: LongAnswers | None = None,
) -> Api:
    """Build the application.

    `get_service` gives the opened system, None outside its life (answered 503). `long_answers` holds the
    streams and long polls; close it when the process is asked to stop: a server waits for open answers
    before it ends the lifespan.
    """
    long_answers = long_answers or LongAnswers()
    routes: list[BaseRoute] = [
        Route(path, Endpoint(path, handlers, get_service, long_answers))
        for path, handlers in PATHS.items()
    ]
    return Api(
        title="Synergy7 Execution",
        version=version,
        routes=routes,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


async def _refused(_request: Request, error: Exception) -> Response:
    """Tell what the framework refuses: in practice, a path that nothing is at."""
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
    if status == HTTPStatus.NOT_FOUND:
        return _response(Problem(ReasonCode.NOT_FOUND, "nothing is at this path"))
    return _response(Problem(ReasonCode.BAD_REQUEST, "the request cannot be read"))


async def _failed(_request: Request, _error: Exception) -> Response:
    """Tell a failure outside the endpoints; the server logs it, as it is raised on."""
    return _response(internal_problem())


def _response(problem: Problem) -> Response:
    answer = problem.answer()
    return Response(answer.body, answer.status, media_type=answer.content_type.decode())

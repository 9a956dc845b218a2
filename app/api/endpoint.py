"""The edge: from an ASGI call to a handler, and whatever it raises to a problem."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from app.api.answers import Answer
from app.api.parameters import Query, read_query
from app.api.ports import ApiService, ServiceSource
from app.api.problems import Problem, problem_of
from app.api.waits import LongAnswers
from app.domain.errors import ReasonCode, Synergy7Error
from app.engine.order_manager import DEFAULT_ACCOUNT

_NO_CONTENT: Final = 204
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read lazily."""

    scope: Scope
    receive: Receive
    source: ServiceSource
    long_answers: LongAnswers
    account: str = DEFAULT_ACCOUNT

    @property
    def service(self) -> ApiService:
        """The opened system; raises Problem while there is none."""
        service = self.source()
        if service is None:
            raise Problem(ReasonCode.SHUTTING_DOWN, "the service is starting or stopping")
        return service

    def header(self, name: str) -> str | None:
        """Give a header as ASCII text without the space around it; raises Problem for any other."""
        wanted = name.lower().encode()
        values = [value for key, value in self.scope["headers"] if key == wanted]
        if not values:
            return None
        if len(values) > 1 or not values[0].isascii():
            what = f"{name} is given twice or is not ASCII"
            raise Problem(ReasonCode.INVALID_PARAMETER, what, field=name)
        return str(values[0].decode("ascii").strip())

    def query(self, *allowed: str) -> Query:
        """Give the query parameters; raises Problem for one that is not allowed, or given twice."""
        return read_query(self.scope["query_string"], allowed)


class Sendable(Protocol):
    """What a handler gives back."""

    async def send(self, send: Send, *, head: bool) -> None:
        """Send the answer; without the body when it answers a HEAD request."""
        ...


Handler = Callable[[Call], Awaitable[Sendable]]


class Endpoint:
    """The ASGI application of one path: a handler for each method, HEAD as GET, OPTIONS told."""

    def __init__(
        self,
        path: str,
        handlers: Mapping[str, Handler],
        source: ServiceSource,
        long_answers: LongAnswers,
    ) -> None:
        """`handlers` by method name, in capitals; `path` as routed, for the log."""
        self._path = path
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._source = source
        self._long_answers = long_answers
        self._allow = ((b"allow", ", ".join([*self._handlers, "OPTIONS"]).encode()),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        handler = self._handlers.get(scope["method"], self._other)
        call = Call(scope, receive, self._source, self._long_answers)
        answer = await self._answer(handler, call)
        await answer.send(send, head=call.scope["method"] == "HEAD")

    async def _answer(self, handler: Handler, call: Call) -> Sendable:
        try:
            return await handler(call)
        except Problem as problem:
            return problem.answer()
        except Synergy7Error as error:
            return problem_of(error).answer()
        except Exception:  # noqa: BLE001 - the last resort: logged here, and told as a problem
            _log.exception("a request failed", method=call.scope["method"], path=self._path)
            return internal_problem().answer()

    async def _other(self, call: Call) -> Answer:
        if call.scope["method"] == "OPTIONS":
            return Answer(_NO_CONTENT, b"", headers=self._allow)
        what = "this path takes the methods that Allow names"
        raise Problem(ReasonCode.METHOD_NOT_ALLOWED, what, headers=self._allow)


def internal_problem() -> Problem:
    """Give the problem for a defect: it says nothing, the log says all."""
    return Problem(ReasonCode.INTERNAL, "the service failed to answer; the log says why")

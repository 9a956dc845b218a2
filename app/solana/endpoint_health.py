"""Which endpoints serve which RPC method, judged by their own answers and never by getHealth.

A node may serve statuses and refuse sends, so health is kept for each endpoint and RPC method apart.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from app.solana.json_rpc import Answer, JsonRpcClient, Result, RpcError, outcome_label

COOL_DOWN_SECONDS: Final = 1.0
"""How long an endpoint ranks behind after its first failure; each further one doubles it."""
COOL_DOWN_SECONDS_MAX: Final = 30.0
RETRY_AFTER_SECONDS_MAX: Final = 600.0
"""Longer hints are taken for this: an endpoint must not put itself away for good."""
_DOUBLINGS_MAX: Final = 5
_AILING_STATUSES: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_AILING_CODES: Final = frozenset(
    {
        -32005,  # the node is behind (elsewhere: too many requests)
        -32011,  # it keeps no transaction history
        -32016,  # it has not reached the slot that the request builds on
        -32601,  # it does not know the method
        429,
        -32429,
        -32097,  # rate limits, told by some vendors within an HTTP 200
    }
)
_RATE: Final = re.compile(r"rate.?limit|request limit|too many requests", re.IGNORECASE)


@dataclass(slots=True)
class _Trouble:
    """Failures without a success between them; `until` ends the cool-down."""

    failures: int
    until: float
    why: str


class EndpointHealth:
    """Ranks endpoints: those that are well as configured, then the ailing ones."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds that only grow."""
        self._monotonic = monotonic
        self._troubles: dict[tuple[JsonRpcClient, str], _Trouble] = {}
        self._latest: dict[JsonRpcClient, float] = {}

    def ranked(self, clients: Sequence[JsonRpcClient], rpc_method: str) -> list[JsonRpcClient]:
        """Sort clients: well ones in the given order, then ailing ones, soonest to recover first."""
        return sorted(clients, key=lambda client: self._ailing_until(client, rpc_method))

    def well(self, client: JsonRpcClient, rpc_method: str) -> bool:
        """Tell whether nothing is held against the endpoint for this method now."""
        return self._ailing_until(client, rpc_method) == 0

    def note(self, client: JsonRpcClient, rpc_method: str, answer: Answer, seconds: float) -> None:
        """Take an answer and how long it took; errors that are about the request say nothing."""
        if isinstance(answer, Result):
            self._latest[client] = seconds
            self._troubles.pop((client, rpc_method), None)
        elif not isinstance(answer, RpcError):
            self.blame(client, rpc_method, outcome_label(answer))
        elif _is_ailing(answer):
            why = f"error {answer.code or answer.http}"
            self.blame(client, rpc_method, why, answer.retry_after_seconds)

    def blame(
        self,
        client: JsonRpcClient,
        rpc_method: str,
        why: str,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Rank an endpoint behind for its cool-down, or for as long as it asked for itself.

        Failures during a cool-down are of the same trouble and lengthen it only by such a wish.
        """
        now = self._monotonic()
        trouble = self._troubles.setdefault((client, rpc_method), _Trouble(0, now, why))
        trouble.why = why
        if trouble.until <= now:
            trouble.until = now + _cool_down(trouble.failures)
            trouble.failures += 1
        if retry_after_seconds is not None:
            wished = now + min(retry_after_seconds, RETRY_AFTER_SECONDS_MAX)
            trouble.until = max(trouble.until, wished)

    def state(self, client: JsonRpcClient) -> Mapping[str, object]:
        """Tell an endpoint's state: host and port, its latest latency, and what it ails from by method."""
        latest = self._latest.get(client)
        now = self._monotonic()
        return {
            "endpoint": client.endpoint,
            "latency_ms": None if latest is None else round(latest * 1_000, 1),
            "ailing": {
                method: {"why": each.why, "retry_after_seconds": round(each.until - now, 3)}
                for (of, method), each in sorted(
                    self._troubles.items(), key=lambda item: item[0][1]
                )
                if of is client and each.until > now
            },
        }

    def _ailing_until(self, client: JsonRpcClient, rpc_method: str) -> float:
        """Give when the cool-down ends, 0 when there is none."""
        trouble = self._troubles.get((client, rpc_method))
        return 0 if trouble is None or trouble.until <= self._monotonic() else trouble.until


def _cool_down(failures_before: int) -> float:
    doublings = min(failures_before, _DOUBLINGS_MAX)
    return min(COOL_DOWN_SECONDS * (1 << doublings), COOL_DOWN_SECONDS_MAX)


def _is_ailing(error: RpcError) -> bool:
    """Tell whether an error is about the endpoint; one about the request says nothing of it."""
    refused = error.http in _AILING_STATUSES or error.http >= HTTPStatus.INTERNAL_SERVER_ERROR
    return refused or error.code in _AILING_CODES or _RATE.search(error.message) is not None

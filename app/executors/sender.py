"""The method `sender`: any service that takes signed transactions over HTTP, described by configuration.

It holds the bytes against what the sender wants to be paid before any of them leaves, pushes once a
call, follows no redirection, and believes an acknowledgement only of the bytes' own signature.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import TipNeeds
from app.executors.gate import Gate
from app.executors.limiter import loop_time, pace_key
from app.executors.method import Method, Target
from app.executors.registry import MethodContext
from app.executors.sender_options import KeepAlive, SenderOptions, TipRule
from app.executors.sender_rules import BODY_BYTES_MAX, sender_reply
from app.executors.sender_section import sender_options
from app.executors.terms import read_terms
from app.solana.json_rpc import JsonRpcClient


def build_sender(context: MethodContext) -> "Sender":
    """Make the sender that the context's options describe; raises StartupError (see `sender_options`)."""
    options = sender_options(context.name, context.options)
    targets = [_target(context, options, url) for url in options.urls]
    if options.keepalive is not None:
        work = partial(keep_alive, options.keepalive, targets)
        context.background("keepalive", work)
    return Sender(context.name, options, targets, context.gate)


def _target(context: MethodContext, options: SenderOptions, url: str) -> Target:
    client = context.connect(options.keyed(url), options.all_headers)
    pace = math.inf if options.rps is None else options.rps
    return Target(client, context.limiter(pace_key(url, options.api_key), pace))


class Sender(Method):
    """A `Method` that sends nothing whose terms the sender would not take."""

    def __init__(
        self,
        name: str,
        options: SenderOptions,
        targets: Sequence[Target],
        gate: Gate,
        *,
        monotonic: Callable[[], float] = loop_time,
    ) -> None:
        """`targets` are the clients of the options' URLs, with the credential in URL or headers."""
        needs = needs_of(options.tip)
        super().__init__(
            name,
            self._post,
            targets,
            gate,
            privacy=options.privacy,
            needs=lambda: needs,
            monotonic=monotonic,
        )
        self._options = options

    def state(self) -> Mapping[str, object]:
        """See the port."""
        return {**super().state(), "retries_internally": self._options.retries_internally}

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """See the port; what the bytes lack is known here, and no fault of the sender's."""
        lacking = lacks(attempt.signed.raw, self._options.tip)
        if lacking is not None:
            return Reply(ReplyOutcome.NOT_SENT, lacking)
        return await super().submit(attempt, deadline, may)

    async def _post(self, client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
        options = self._options
        raw = await client.exchange(
            options.label,
            options.request(attempt.signed.raw),
            path=options.sending_path,
            content_type=options.content_type,
            timeout_seconds=seconds,
            body_bytes_max=BODY_BYTES_MAX,
        )
        return sender_reply(raw, attempt.signature, options)


def needs_of(tip: TipRule) -> TipNeeds:
    """Say for the builder what a sender wants."""
    return TipNeeds(
        payees=tip.accounts,
        tip_lamports=max(tip.lamports, tip.min_lamports),
        unit_price_min=tip.min_unit_price,
        priority_fee_lamports_min=tip.min_priority_fee_lamports,
    )


def lacks(raw: bytes, tip: TipRule) -> str | None:
    """Say why a sender would not take these bytes: `tip_missing`, `fee_too_low`; None: it would."""
    if tip.min_lamports == tip.min_unit_price == tip.min_priority_fee_lamports == 0:
        return None
    terms = read_terms(raw)
    if terms is None:
        return "unreadable"
    tipped = (each.lamports for each in terms.transfers if each.payee in tip.accounts)
    if max(tipped, default=0) < tip.min_lamports:
        return "tip_missing"
    cheap = (
        terms.unit_price < tip.min_unit_price
        or terms.priority_fee_lamports < tip.min_priority_fee_lamports
    )
    return "fee_too_low" if cheap else None


async def keep_alive(keepalive: KeepAlive, targets: Sequence[Target]) -> None:
    """Ask every target now and then, for ever, so that pushes find a connection open.

    What it answers means nothing: the pushes themselves tell how it is.
    """
    while True:
        await asyncio.gather(*(_ping(keepalive, target) for target in targets))
        await asyncio.sleep(keepalive.every_s)


async def _ping(keepalive: KeepAlive, target: Target) -> None:
    """Ask once; not while the target wants to be left alone, or was asked a moment ago."""
    if target.limiter.wait_seconds() > 0:
        return
    if keepalive.rpc_method is not None:
        await target.client.call(keepalive.rpc_method, [], path=keepalive.path)
        return
    await target.client.exchange(
        "keepalive",
        None if keepalive.http_method == "GET" else b"",
        http_method=keepalive.http_method,
        path=keepalive.path,
        content_type="text/plain",
    )

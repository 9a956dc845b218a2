"""`verify`, wired: the orders database for reading, and the chain through the configured endpoints."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from app.bootstrap import opening
from app.database.inspection import Inspection, open_inspection
from app.domain.attempt import StoredAttempt
from app.domain.errors import IntakeError, StartupError, TransientError
from app.domain.order import Fill
from app.domain.signal import US
from app.engine.ports import LandedTransaction
from app.engine.verification import Findings, Verification
from app.settings import Settings
from app.solana.chain import RpcChain
from app.solana.ledger import RpcLedger
from app.solana.wallet_history import WalletHistories
from app.transactions.fills import read_fill
from app.transactions.venues import known_venues
from app.transactions.venues.base import Venue

DAY_US = 86_400 * US


class _Unobserved:
    """Counts no request: nobody scrapes a command."""

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """See `Observer`."""


class _VenueFills:
    """The `Fills` port over the venues that this version knows."""

    def __init__(self, venues: Mapping[str, Venue]) -> None:
        self._venues = venues

    def fill(self, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        """See the port."""
        return read_fill(attempt, landed, self._venues)


async def verify(settings: Settings) -> Findings:
    """Hold the orders database against itself and against the chain; changes nothing.

    Raises StartupError when the database or the settings cannot be used, or the endpoints serve another
    chain than the orders'.
    """
    orders = settings.order_management
    url = opening.database_url(orders.database_url, orders.db_path)
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(open_inspection(url))
        try:
            ledger = await _ledger(settings, stack, kept)
            removed_us = (
                int(time.time() * US) - orders.retention_days * DAY_US
                if orders.retention_days
                else None
            )
            fills = _VenueFills(known_venues())
            return await Verification(kept, ledger, fills, removed_before_us=removed_us).run()
        except IntakeError as error:
            todo = error.todo or "look at the database"
            raise StartupError("DATABASE_UNREACHABLE", error.what, todo) from error


async def _ledger(settings: Settings, stack: AsyncExitStack, kept: Inspection) -> RpcLedger | None:
    """Connect to the chain; None when the orders belong to none yet, and so nothing was ever signed."""
    genesis = await kept.genesis_hash()
    if genesis is None:
        return None
    network = await opening.open_network(settings, stack, _Unobserved())
    needed = settings.execution.proof_endpoints
    chain = RpcChain(
        network.clients, proof_endpoints=needed, poll_seconds=settings.solana.poll_interval
    )
    try:
        serves = await chain.genesis_hash()
    except TransientError:
        serves = genesis  # nobody answers: everything on the chain will count as unknown
    if serves != genesis:
        what = f"the orders belong to the chain {genesis}, and the endpoints serve {serves}"
        raise StartupError("DATABASE_OTHER_CHAIN", what, "name that chain's endpoints")
    histories = WalletHistories(network.clients, needed)
    histories.belongs_to(genesis)
    chain.belongs_to(genesis)
    return RpcLedger(
        network.clients, chain=chain, histories=histories, needed=needed, genesis_hash=genesis
    )

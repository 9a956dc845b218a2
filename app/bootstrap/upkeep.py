"""Background work beside the engine: the chain's identity, the wallet's balance, clean-up."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from app.bootstrap.report import Sightings
from app.database.orders import SqlStore
from app.domain.errors import IntakeError, RefusedError, StartupError, TransientError
from app.domain.signal import US
from app.engine.ports import Clock
from app.solana.chain import RpcChain
from app.solana.clusters import KNOWN_GENESIS
from app.transactions.trading import TransactionTrading

AGAIN_SECONDS: Final = 1.0
BALANCE_SECONDS: Final = 5.0
PROCESSES_SECONDS: Final = 1.0
DAY_US: Final = 86_400 * US

_log = structlog.get_logger(__name__)


class Identification:
    """Makes sure that this is the chain the orders belong to, and that its pools are the configured ones.

    Nothing is signed before. A chain that cannot be reached does not keep the service from accepting.
    """

    def __init__(
        self,
        network: str,
        chain: RpcChain,
        store: SqlStore,
        trading: TransactionTrading,
        seen: Sightings,
    ) -> None:
        """Take what is asked and told."""
        self._network = network
        self._chain = chain
        self._store = store
        self._trading = trading
        self._seen = seen

    async def identify(self) -> bool:
        """Try once; raises StartupError for the wrong chain or pools, False when it is out of reach."""
        try:
            self._seen.genesis_hash = await self._chain.genesis_hash()
            refuse_other_cluster(self._network, self._seen.genesis_hash)
            await self._store.bind_chain(self._network, self._seen.genesis_hash)
            self._chain.belongs_to(self._seen.genesis_hash)
            await self._chain.look()
            await self._trading.verify()
        except TransientError as error:
            self._seen.trouble = error.what
            return False
        except RefusedError as error:
            raise StartupError("POOL_INVALID", error.what, error.todo or "mend markets") from error
        self._chain.verified = True
        self._seen.trouble = None
        return True

    async def _identify_later(self) -> bool:
        """Try once more; a database that is away now is no reason to end a service that accepts."""
        try:
            return await self.identify()
        except IntakeError as error:
            self._seen.trouble = error.what
            return False

    async def run(self) -> None:
        """Try until it is done, then watch the tip; a wrong chain ends the service."""
        while not self._chain.verified and not await self._identify_later():
            _log.warning("the chain is out of reach, orders wait", why=self._seen.trouble)
            await asyncio.sleep(AGAIN_SECONDS)
        await self._chain.run()


def refuse_other_cluster(network: str, genesis_hash: str) -> None:
    """Refuse a public cluster that is not the configured network; raises StartupError.

    The sandbox is any chain but these: there is real money on one of them.
    """
    serves = next((name for name, known in KNOWN_GENESIS.items() if known == genesis_hash), None)
    if serves == network or (serves is None and network not in KNOWN_GENESIS):
        return
    what = f"network is {network} and the endpoints serve {serves or 'another chain'}"
    raise StartupError("CHAIN_OTHER_NETWORK", what, "correct network or solana.rpc_urls")


async def watch_balance(trading: TransactionTrading, wallet: str, seen: Sightings) -> None:
    """Keep the wallet's balance for `/status`."""
    while True:
        try:
            seen.balances = await trading.balances(wallet)
        except (TransientError, RefusedError) as error:
            _log.debug("the balance could not be read", why=error.what)
        await asyncio.sleep(BALANCE_SECONDS)


async def watch_processes(store: SqlStore, seen: Sightings) -> None:
    """Keep the processes that share the database for `/status`."""
    while True:
        try:
            seen.processes = await store.processes()
        except IntakeError as error:
            _log.debug("the processes could not be read", why=error.what)
        await asyncio.sleep(PROCESSES_SECONDS)


async def clean_orders(
    store: SqlStore,
    clock: Clock,
    *,
    interval_seconds: float,
    retention_days: int,
    kept: Callable[[], int],
) -> None:
    """Remove settled orders past their retention, in small batches; `kept` bounds what nobody read yet."""
    while True:
        await asyncio.sleep(interval_seconds)
        if retention_days == 0:
            continue
        now_us = clock.now_us()
        before_us = now_us - retention_days * DAY_US
        try:
            pruned = await store.prune(before_us=before_us, at_us=now_us, keep_after=kept())
            _log.info("orders cleaned up", removed=str(pruned))
        except IntakeError as error:
            _log.warning("clean-up has to wait", why=error.what)

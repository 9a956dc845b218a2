"""Trading: the engine's door to quotes, transactions and fills."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from solders.hash import Hash
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature

from app.domain.attempt import Blockhash, Signed, StoredAttempt
from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import Market
from app.domain.order import Fill, Order
from app.domain.outcome import ProgramError
from app.domain.quote import Limit, Quote, intent_of, limit_of
from app.domain.signal import SignalRules
from app.engine.ports import (
    Balances,
    Chain,
    Clock,
    Draft,
    Explained,
    LandedTransaction,
    Quoted,
    Signer,
    Simulation,
    TipNeeds,
)
from app.engine.recovery_port import Found, Mention, Recovered
from app.transactions import errors, fees, logs
from app.transactions.builder import (
    Construction,
    TransactionBuilder,
    Work,
    compile_message,
    serialize,
    signable,
)
from app.transactions.desk import MarketDesk
from app.transactions.fees import FeePolicy
from app.transactions.fills import read_fill, swap_report
from app.transactions.guard import check_message
from app.transactions.pools import PoolReader, pairs_with_sol
from app.transactions.prices import UnitPrices
from app.transactions.recovered import read_recovered
from app.transactions.routing import Router
from app.transactions.tokens import random_seed
from app.transactions.venues import known_venues
from app.transactions.venues.base import Report, Venue

_log = structlog.get_logger(__name__)
DEFAULT_POLICY: Final = FeePolicy()
"""A fixed price, and no cap on an order."""
SIGN_SECONDS_MAX: Final = 5
"""How long a signer may take: a key that is kept elsewhere may not answer."""


class TransactionTrading:
    """Prices, builds, signs and reads back swaps on the configured markets."""

    def __init__(
        self,
        *,
        chain: Chain,
        signers: Mapping[str, Signer],
        markets: Mapping[str, Market],
        clock: Clock,
        slot_seconds: float,
        fee_policy: FeePolicy = DEFAULT_POLICY,
        seed_source: Callable[[], str] = random_seed,
        sign_seconds_max: int = SIGN_SECONDS_MAX,
    ) -> None:
        """Keep the parts.

        `signers` are by the wallet's name in orders; `slot_seconds` is how long a read of the pools
        counts as current. Raises ValueError for a market whose pool is of an unknown venue, or whose
        orders' value no pool tells in SOL although fees are capped in basis points of it.
        """
        self._chain, self._clock = chain, clock
        self._sign_seconds_max = sign_seconds_max
        self._signers = dict(signers)
        self._markets = dict(markets)
        self.venues = known_venues()
        """By the names that pools use."""
        used = {ref.venue for market in self._markets.values() for ref in market.pools}
        self._unprobed = {venue for name, venue in self.venues.items() if name in used}
        _require_venues(self._markets, self.venues)
        if fee_policy.fee_max_bps is not None:
            _require_values(self._markets)
        self._builder = TransactionBuilder(seed_source=seed_source)
        self._fee_policy = fee_policy
        self._router = Router(fee_policy.unit_price_micro_lamports)
        self._prices = UnitPrices(fee_policy.price_source, clock.monotonic)
        self._pools = PoolReader(
            chain=chain,
            wallets=[signer.address for signer in self._signers.values()],
            markets=self._markets,
            venues=self.venues,
            slot_seconds=slot_seconds,
            monotonic=clock.monotonic,
        )

    async def verify(self) -> None:
        """Check every configured pool against the chain.

        Raises RefusedError(POOL_INVALID) naming the market, or TransientError when the chain cannot
        be read.
        """
        await self._find_forms()
        board = await self._pools.board()
        for market in self._markets.values():
            for ref in market.pools:
                try:
                    board.pool(market.name, ref)
                except RefusedError as error:
                    what = f"market {market.name}: {error.what}"
                    raise RefusedError(error.code, what, todo=error.todo) from error

    def desk(self, rules: SignalRules) -> MarketDesk:
        """Give who answers before an order is posted, from the same reads and by the same choice of pools."""
        return MarketDesk(
            self._pools,
            self._router,
            rules=rules,
            unit_price_micro_lamports=self._fee_policy.unit_price_micro_lamports,
            now_us=self._clock.now_us,
        )

    async def probe(self) -> None:
        """Find out by simulation which form of its swaps each program takes that has several.

        Raises TransientError when that cannot be told.
        """
        payer = Pubkey.from_string(next(iter(self._signers.values())).address)
        for venue in tuple(self._unprobed):
            probe = venue.probe()
            if probe is not None:
                message = MessageV0.try_compile(payer, [probe], [], Hash.default())
                simulation = await self._chain.simulate(serialize(message, Signature.default()), 0)
                if not venue.learn(simulation.error):
                    what = f"the form of {venue.name}'s swaps cannot be told: {simulation.error}"
                    raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what, todo="fund the wallet")
            self._unprobed.discard(venue)

    async def _find_forms(self) -> None:
        """Probe what is not known yet; without an answer only that venue's pools have to wait."""
        if not self._unprobed:
            return
        try:
            await self.probe()
        except TransientError as error:
            _log.warning("the form of a program's swaps is not known yet", why=error.what)

    async def aclose(self) -> None:
        """Stop what is under way."""
        await self._pools.aclose()
        await self._prices.aclose()

    async def quote(self, order: Order) -> Quoted:
        """Quote an order on the state read in this slot, and bound it."""
        market = self._market(order)
        await self._find_forms()
        board = await self._pools.board()
        quote = self._router.best(board, market, intent_of(order.signal)).quote
        return Quoted(quote, limit_of(order.signal, market, quote))

    async def balances(self, wallet: str) -> Balances:
        """Give the wallet's balances as read in this slot."""
        signer = self._signer(wallet)
        return (await self._pools.board()).balances(signer.address)

    async def draft(
        self,
        order: Order,
        number: int,
        quoted: Quoted,
        needs: Sequence[TipNeeds],
        earlier: Sequence[StoredAttempt] = (),
    ) -> Draft:
        """Build attempt `number` of the order, unsigned and with the largest compute limit.

        `earlier` are the order's attempts so far: what they paid counts against its cap on fees. The
        draft pays the tips, so that they are simulated too, but bids nothing for priority: on the
        largest limit that would ask the wallet for more than the signed transaction does. Its
        blockhash is the node's to replace.
        """
        work = Work(
            order=order,
            market=self._market(order),
            payer=Pubkey.from_string(self._signer(order.wallet).address),
            board=await self._pools.latest(),
            venue=self.venues[quoted.quote.pool.venue],
            paid_before=fees.paid_before(earlier),
        )
        construction = self._builder.construct(work, number, quoted, needs)
        self._prices.ask(construction.contended)  # answered while the draft is simulated
        message = compile_message(
            construction, limit=fees.UNITS_MAX, price=0, blockhash=Hash.default()
        )
        raw = serialize(message, Signature.default())
        return Draft(raw=raw, slot=quoted.quote.slot, context=construction)

    def check(self, draft: Draft, simulation: Simulation) -> Explained | None:
        """Judge a simulation: None when it did what was quoted, within the bound.

        Amounts may differ from the quote when the pool has moved: then the bound decides. From the
        state that the event tells, the quote must come out the same: else nothing is signed. That may
        pass, as an event does not tell everything (liquidity beside the price, a fee that was changed):
        a new read and quote show whether the program itself is another.
        """
        if simulation.error is not None:
            return self.explain(simulation.error, simulation.logs)
        construction = _construction(draft)
        quote, limit = construction.quoted.quote, construction.quoted.limit
        report = swap_report(construction.venue, quote.pool.address, simulation.logs)
        if report is None:
            # a full log hides the event; the chain still enforces the bound
            return None if logs.truncated(simulation.logs) else _mismatch("no swap event was seen")
        if not _as_quoted(construction, report):
            return _alarm(construction, report)
        return None if _within(report, quote, limit) else _mismatch("amounts beyond the bound")

    async def sign(self, draft: Draft, simulation: Simulation, blockhash: Blockhash) -> Signed:
        """Set the compute limit from the simulation and the unit price, and sign with the order's wallet.

        Raises RefusedError(FEE_CAP_EXCEEDED) when the order would pay more for landing than it may.
        """
        construction = _construction(draft)
        limit = fees.unit_limit(simulation.units)
        going = await self._prices.latest(construction.contended)
        price = self._fee_policy.unit_price(going, construction.needs, limit)
        priority = fees.priority_fee(limit, price)
        self._fee_policy.demand(
            construction.paid_before + construction.cost(priority), construction.value_lamports
        )
        message = compile_message(
            construction,
            limit=limit,
            price=price,
            blockhash=Hash.from_string(blockhash.blockhash),
        )
        check_message(message, construction, limit=limit, price=price)
        signature = await self._signature(construction, signable(message))
        return Signed(
            raw=serialize(message, signature),
            signature=str(signature),
            blockhash=blockhash,
            quote=construction.quoted.quote,
            limit=construction.quoted.limit,
            spend=construction.spend(priority),
            priority_fee_lamports=priority,
            tip_lamports=fees.total(construction.tips),
            seed=construction.seed,
        )

    async def _signature(self, construction: Construction, message: bytes) -> Signature:
        """Sign and verify: a wrong signature would only cost the attempt its life."""
        signer = self._signer(construction.wallet)
        try:
            async with asyncio.timeout(self._sign_seconds_max):
                given = await signer.sign(message)
        except TimeoutError as error:
            what = f"the signer did not answer within {self._sign_seconds_max} s"
            raise TransientError(ReasonCode.INTERNAL_ERROR, what) from error
        signature = Signature.from_bytes(given) if len(given) == Signature.LENGTH else None
        if signature is None or not signature.verify(construction.payer, message):
            raise RefusedError(ReasonCode.INTERNAL_ERROR, "the signer gave a wrong signature")
        return signature

    def explain(self, error: object, logs: Sequence[str]) -> Explained:
        """Decode a failure: the raw `err` value and the log lines."""
        return errors.explain(error, logs, self.venues)

    def fill(self, order: Order, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        """Read from a landed transaction what it traded and what it cost."""
        self._pools.landed(landed.slot)
        return read_fill(attempt, landed, self.venues)

    def recovered(
        self, found: Found, mention: Mention, until_height: int, wallet: str
    ) -> Recovered | None:
        """Read a transaction of ours back; None when it is none, RefusedError when it cannot be read."""
        return read_recovered(
            found,
            mention,
            until_height,
            wallet=wallet,
            markets=self._markets,
            venues=self.venues,
        )

    def _market(self, order: Order) -> Market:
        market = self._markets.get(order.signal.market)
        if market is None:
            what = f"market {order.signal.market} is not configured any more"
            raise RefusedError(ReasonCode.UNKNOWN_MARKET, what)
        return market

    def _signer(self, wallet: str) -> Signer:
        signer = self._signers.get(wallet)
        if signer is None:
            what = f"wallet {wallet} is not configured"
            raise TransientError(ReasonCode.INTERNAL_ERROR, what, todo="configure its key")
        return signer


def _require_venues(markets: Mapping[str, Market], venues: Mapping[str, Venue]) -> None:
    for market in markets.values():
        for ref in market.pools:
            if ref.venue not in venues:
                known = ", ".join(sorted(venues))
                raise ValueError(f"market {market.name}: venue {ref.venue}, known: {known}")


def _require_values(markets: Mapping[str, Market]) -> None:
    """See that a pool may tell what each market's orders are worth; ValueError names one without."""
    for market in markets.values():
        sides = (market.base, market.quote)
        if any(each.is_sol or any(pairs_with_sol(each, markets)) for each in sides):
            continue
        names = " or ".join(each.symbol for each in sides)
        what = f"fees.max_order_bps is set and nothing tells what orders on {market.name} are worth"
        raise ValueError(f"{what}: add a market of {names} with SOL, or set the cap to 0")


def _construction(draft: Draft) -> Construction:
    if not isinstance(draft.context, Construction):
        raise TypeError("the draft is of another builder")
    return draft.context


def _as_quoted(construction: Construction, report: Report) -> bool:
    """Quote again from the state right before the simulated swap, when its event tells that state."""
    before = construction.pool.as_before(construction.swap, report)
    if before is None:
        return True
    try:
        priced = before.quote(construction.swap)
    except (RefusedError, TransientError):
        return False
    return (priced.amount_in, priced.amount_out) == (report.amount_in, report.amount_out)


def _alarm(construction: Construction, report: Report) -> Explained:
    """Tell that a program did otherwise than quoted; the order quotes anew until its deadline."""
    _log.critical(
        "a program does otherwise than quoted",
        venue=construction.venue.name,
        pool=str(construction.quoted.quote.pool.address),
        amount_in=report.amount_in,
        amount_out=report.amount_out,
        before=report.before,
    )
    explained = _mismatch("the program did something else than a quote of the same state tells")
    return replace(explained, retryable=True)


def _within(report: Report, quote: Quote, limit: Limit) -> bool:
    if limit.exact_in:
        return report.amount_in == quote.intent.amount and report.amount_out >= limit.bound
    return report.amount_out == quote.intent.amount and report.amount_in <= limit.bound


def _mismatch(words: str) -> Explained:
    code = ReasonCode.SIMULATION_MISMATCH
    error = ProgramError(name="SimulationMismatch", words=f"simulated: {words}", raw=None)
    return Explained(error, code, retryable=False)

"""A transaction of ours tells its order again, from nothing but the chain's record of it."""

from dataclasses import dataclass, replace
from typing import Self

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageHeader, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.attempt import Signed
from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.memo import client_hash
from app.domain.order import Fill, Order
from app.domain.signal import US, Action
from app.engine.recovery_port import Found, Mention, Recovered
from app.transactions.fills import read_fill
from app.transactions.guard import decompile
from app.transactions.recovered import read_recovered
from app.transactions.tokens import MEMO_PROGRAM, memo
from app.transactions.venues import known_venues
from tests.transactions.kit import (
    TOKEN_ACCOUNT_BYTES,
    UNIX_TIME,
    WALLET,
    desk,
    markets,
    order,
    stored,
)

pytestmark = pytest.mark.anyio
OWN = str(WALLET.pubkey())
HEIGHT = 1_234
ORDERS = [
    order(),
    order("SOL-USDC", Action.BUY),
    order("BONK-USDC", Action.SELL, size=10**9),
    order("SOL-USDC", Action.SELL, quote_size=10**6),
    order("RAY-SOL", Action.BUY, quote_size=10**7),
]


@dataclass(frozen=True)
class Landing:
    """An order that landed, and what the chain has of it."""

    wanted: Order
    signed: Signed
    fill: Fill
    found: Found

    @classmethod
    async def of(cls, wanted: Order) -> Self:
        """Execute an order."""
        on = desk()
        signed = await on.signed(wanted)
        landed = on.chain.land(signed.raw)
        accounts = {key: on.chain.account(key) for key in landed.account_keys}
        mints = {
            key: str(Pubkey(account.data[:32]))
            for key, account in accounts.items()
            if account is not None and len(account.data) == TOKEN_ACCOUNT_BYTES
        }
        fill = on.trading.fill(wanted, stored(signed), landed)
        return cls(wanted, signed, fill, Found(signed.raw, landed, mints, UNIX_TIME))

    def read(
        self, found: Found | None = None, wallet: str = OWN, **listed: object
    ) -> Recovered | None:
        """Read it back, or something else in its place."""
        return read_recovered(
            found or self.found,
            mention(self.found, **listed),
            HEIGHT,
            wallet=wallet,
            markets=markets(),
            venues=known_venues(),
        )

    def with_memos(self, *texts: str, key: Keypair = WALLET) -> Found:
        """Sign the same swap with other memos, or with another key."""
        message = VersionedTransaction.from_bytes(self.found.raw).message
        assert isinstance(message, MessageV0)
        body = [each for each in decompile(message) if each.program_id != MEMO_PROGRAM]
        changed = MessageV0.try_compile(
            key.pubkey(), [*body, *map(memo, texts)], [], message.recent_blockhash
        )
        signers = [key, *([WALLET] if key is not WALLET else [])]
        return replace(self.found, raw=bytes(VersionedTransaction(changed, signers)))


def mention(found: Found, **given: object) -> Mention:
    """List a transaction."""
    fields: dict[str, object] = {
        "signature": found.landed.signature,
        "slot": found.landed.slot,
        "failed": False,
        "memo": None,
        "unix_time": UNIX_TIME,
    }
    return Mention(**{**fields, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", ORDERS, ids=lambda each: f"{each.signal.market}")
async def test_what_was_ordered_is_told_by_what_landed(wanted: Order) -> None:
    """Side, market, exact size, keys, fees and bytes; and the same fill is read from them."""
    landing = await Landing.of(wanted)
    read = landing.read()
    assert read is not None
    signal, signed = wanted.signal, read.signed
    assert (read.action, read.market) == (signal.action, signal.market)
    assert (read.size, read.quote_size) == (signal.size, signal.quote_size)
    assert read.memo.order_id == wanted.order_id
    assert read.memo.client_hash == client_hash("default", wanted.client_key)
    assert (read.slot, read.failed, read.at_us) == (
        landing.found.landed.slot,
        False,
        UNIX_TIME * US,
    )
    was = landing.signed
    assert (signed.raw, signed.signature) == (was.raw, was.signature)
    assert (signed.limit, signed.priority_fee_lamports) == (was.limit, was.priority_fee_lamports)
    assert signed.blockhash.blockhash == was.blockhash.blockhash
    assert signed.blockhash.last_valid_block_height == HEIGHT
    fill = read_fill(stored(signed), landing.found.landed, known_venues())
    assert fill == landing.fill


async def test_nobody_elses_word_is_taken() -> None:
    """Another wallet's transaction, and memos that are not ours alone."""
    landing = await Landing.of(order())
    text = "synergy7:0198c0de-0000-7000-8000-000000000002/1/0123456789abcdef"
    assert landing.read(landing.with_memos(text)) is not None
    stranger = Keypair()
    assert landing.read(wallet=str(stranger.pubkey())) is None
    assert landing.read(landing.with_memos(text, key=stranger)) is None
    for memos in ([], ["synergy7:x"], [text, text], [f"{text} "]):
        assert landing.read(landing.with_memos(*memos)) is None, memos


async def test_bytes_that_were_not_signed_are_no_transaction_to_pass_over() -> None:
    """A node that shows them hides what landed: it would be traded again."""
    landing = await Landing.of(order())
    at = landing.found.raw.find(
        bytes(VersionedTransaction.from_bytes(landing.found.raw).message.recent_blockhash)
    )
    for changed in (10, at):  # a signature's byte, and one of what it signs
        raw = bytearray(landing.found.raw)
        raw[changed] ^= 1
        with pytest.raises(TransientError, match="not what was signed"):
            landing.read(replace(landing.found, raw=bytes(raw)))
    unsigned = VersionedTransaction.populate(
        MessageV0(MessageHeader(0, 0, 0), [], Hash.default(), [], []), []
    )
    with pytest.raises(TransientError, match="not what was signed"):
        landing.read(replace(landing.found, raw=bytes(unsigned)))


async def test_a_failure_needs_everybodys_word() -> None:
    """Who lists it as executed, or shows it so, is believed: else it would be traded again."""
    landing = await Landing.of(order())
    failed = replace(landing.found, landed=replace(landing.found.landed, error={"x": 1}))
    for found, listed, expected in (
        (landing.found, True, False),
        (failed, False, False),
        (failed, True, True),
    ):
        read = landing.read(found, failed=listed)
        assert read is not None
        assert read.failed is expected


async def test_a_market_that_is_configured_no_more_is_named_by_its_mints() -> None:
    """The order is recorded all the same, as a sale of what was paid."""
    landing = await Landing.of(order("SOL-USDC", Action.BUY))
    read = read_recovered(
        landing.found,
        mention(landing.found),
        HEIGHT,
        wallet=OWN,
        markets={},
        venues=known_venues(),
    )
    assert read is not None
    market = markets()["SOL-USDC"]
    assert read.market == f"{market.quote.mint}-{market.base.mint}"
    assert read.action is Action.SELL
    assert read.quote_size == landing.wanted.signal.size


async def test_a_swap_that_cannot_be_read_is_no_transaction_to_pass_over() -> None:
    """Reconciliation does not end before its venue is configured again."""
    landing = await Landing.of(order())
    with pytest.raises(RefusedError) as caught:
        read_recovered(
            landing.found, mention(landing.found), HEIGHT, wallet=OWN, markets={}, venues={}
        )
    assert caught.value.code is ReasonCode.POOL_INVALID
    with pytest.raises(RefusedError):
        landing.read(replace(landing.found, mints={}))

"""A fill is what the chain did: the venue's own event, held against the balances."""

import base64
from dataclasses import dataclass, replace

import pytest
from solders.account import Account
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.domain.attempt import StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from app.domain.order import Fill, Order
from app.domain.signal import Action
from app.engine.ports import LandedTransaction
from app.transactions.guard import decompile
from app.transactions.tokens import TOKEN_PROGRAM, associated_address, memo
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import WALLET, Desk, desk, markets, order, stored

pytestmark = pytest.mark.anyio


@dataclass
class Landing:
    """An order that landed, to be read back in other records of it."""

    on: Desk
    wanted: Order
    attempt: StoredAttempt
    landed: LandedTransaction

    @classmethod
    async def of(cls, wanted: Order, *, without_usdc: bool = False) -> "Landing":
        """Execute an order."""
        on = desk()
        if without_usdc:
            usdc = markets()["SOL-USDC"].quote.mint
            address = associated_address(WALLET.pubkey(), usdc, TOKEN_PROGRAM)
            on.chain.svm.set_account(address, Account(0, b"", Pubkey.default()))
        signed = await on.signed(wanted)
        landed = on.chain.land(signed.raw)
        assert landed.error is None
        return cls(on, wanted, stored(signed), landed)

    def read(self, **record: object) -> Fill:
        """Read the fill from a record that differs from the true one."""
        landed = replace(self.landed, **record)  # type: ignore[arg-type]
        return self.on.trading.fill(self.wanted, self.attempt, landed)

    def read_as(self, attempt: StoredAttempt) -> Fill:
        """Read the fill of another attempt from the true record."""
        return self.on.trading.fill(self.wanted, attempt, self.landed)


ORDERS = [
    order(),
    order("SOL-USDC", Action.BUY),
    order("BONK-USDC", Action.SELL, size=10**9),
    order("RAY-SOL", Action.BUY, quote_size=10**7),
]


@pytest.mark.parametrize("wanted", ORDERS, ids=lambda each: f"{each.signal.market}")
async def test_without_an_event_the_balances_tell_the_same(wanted: Order) -> None:
    """A truncated or missing log: the vaults and the wallet's accounts give the same amounts."""
    landing = await Landing.of(wanted)
    told = landing.read()
    for lines in ((), ("Log truncated",)):
        assert landing.read(logs=lines) == told


async def test_a_look_alike_event_is_not_believed() -> None:
    """Another program's bytes in the shape of the venue's event change nothing."""
    landing = await Landing.of(order())
    true = landing.read()
    event = next(e for e in landing.landed.logs if e.startswith("Program data: "))
    forged = bytearray(base64.b64decode(event.removeprefix("Program data: ")))
    forged[56:64] = (1).to_bytes(8, "little")
    line = f"Program data: {base64.b64encode(forged).decode()}"
    other = str(memo("x").program_id)
    before = (f"Program {other} invoke [1]", line, f"Program {other} success")
    assert landing.read(logs=(*before, *landing.landed.logs)) == true
    assert landing.read(logs=(line, *landing.landed.logs)) == true


async def test_an_event_that_the_vaults_contradict_is_not_believed() -> None:
    """Even the venue's own event yields to what moved through its vaults."""
    landing = await Landing.of(order())
    true = landing.read()
    event = next(e for e in landing.landed.logs if e.startswith("Program data: "))
    forged = bytearray(base64.b64decode(event.removeprefix("Program data: ")))
    forged[56:64] = (1).to_bytes(8, "little")
    line = f"Program data: {base64.b64encode(forged).decode()}"
    lines = (f"Program {PROGRAM} invoke [1]", line, f"Program {PROGRAM} success")
    found = landing.read(logs=lines)
    assert (found.base_amount, found.quote_amount) == (true.base_amount, true.quote_amount)


async def test_without_balances_the_event_tells() -> None:
    """A node that leaves the token balances out still gives a fill."""
    landing = await Landing.of(order())
    assert landing.read(tokens_before={}, tokens_after={}) == landing.read()
    assert landing.read(account_keys=()) == landing.read()


async def test_a_record_that_tells_nothing_is_asked_for_again() -> None:
    """Neither event nor balances: no amounts are made up."""
    landing = await Landing.of(order())
    with pytest.raises(TransientError) as caught:
        landing.read(logs=(), tokens_before={}, tokens_after={})
    assert caught.value.code is ReasonCode.CHAIN_UNAVAILABLE


async def test_an_account_that_is_new_counts_from_zero() -> None:
    """The record has no earlier balance of the account that the first sale creates."""
    landing = await Landing.of(order(), without_usdc=True)
    assert len(landing.landed.tokens_before) < len(landing.landed.tokens_after)
    assert landing.read(logs=()) == landing.read()


async def test_a_fee_reported_without_its_priority_part_is_completed() -> None:
    """Some nodes report the base fee alone; what was bid is charged in any case."""
    landing = await Landing.of(order())
    told = landing.read()
    assert landing.read(fee_lamports=5_000) == told
    assert told.network_fee == 5_000
    assert told.network_fee + told.priority_fee == landing.landed.fee_lamports


async def test_bytes_without_a_swap_are_a_defect() -> None:
    """An attempt whose bytes hold no swap of its venue was never ours."""
    landing = await Landing.of(order())
    message = VersionedTransaction.from_bytes(landing.attempt.signed.raw).message
    assert isinstance(message, MessageV0)
    kept = [each for each in decompile(message) if each.program_id != PROGRAM]
    unknown = Instruction(PROGRAM, b"", [])
    for instructions in (kept, [*kept, unknown]):
        other = MessageV0.try_compile(WALLET.pubkey(), instructions, [], Hash.default())
        raw = bytes(VersionedTransaction.populate(other, [Signature.default()]))
        with pytest.raises(ValueError, match="no swap"):
            landing.read_as(stored(replace(landing.attempt.signed, raw=raw)))

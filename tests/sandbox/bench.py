"""A virtual machine with the market program and hand-made accounts, for tests of that program."""

import base64
import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from solders.account import Account
from solders.clock import Clock
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from app.sandbox.genesis import own_program
from app.sandbox.layouts import (
    CPMM_PROGRAM,
    SOL_MINT,
    TOKEN_PROGRAM,
    AmmConfig,
    PoolState,
    Swap,
    authority_address,
    encode_mint,
    encode_observations,
    encode_token_account,
    rent_exempt,
    token_amount,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "portable"
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
NOW = 1_790_000_000
U64_MAX = 2**64 - 1
_EVENT = struct.Struct("<8s 32s 6Q ? 32s 32s 2Q ?")
_serial = itertools.count(1)


def fresh_key() -> Pubkey:
    """Give an address that nothing else in the run uses, the same in every run."""
    return Pubkey.from_bytes(sha256(next(_serial).to_bytes(8, "big")).digest())


@cache
def load(name: str) -> Any:
    """Read a file of what the real program did."""
    return json.loads((VECTORS / name).read_text())


@dataclass(frozen=True)
class Outcome:
    """How a transaction ended: `error` is a custom code, a name, or None for success."""

    error: int | str | None
    logs: list[str]
    units: int

    def event(self) -> dict[str, Any]:
        """Decode the one event in the log."""
        (line,) = [line for line in self.logs if line.startswith("Program data: ")]
        names = "tag pool reserve_in reserve_out amount_in amount_out transfer_fee_in"
        names += " transfer_fee_out by_input mint_in mint_out trade_fee creator_fee fee_on_input"
        fields = _EVENT.unpack(base64.b64decode(line.removeprefix("Program data: ")))
        return dict(zip(names.split(), fields, strict=True))


@dataclass(frozen=True)
class Terms:
    """A pool to make up: balances and owed fees by side, rates in millionths."""

    vaults: tuple[int, int]
    trade: int = 2_500
    protocol: int = 120_000
    fund: int = 40_000
    creator: int = 500
    protocol_fees: tuple[int, int] = (0, 0)
    fund_fees: tuple[int, int] = (0, 0)
    creator_fees: tuple[int, int] = (0, 0)
    creator_fee_on: int = 0
    enable_creator_fee: bool = False
    status: int = 0
    open_time: int = 0


class Bench:
    """A virtual machine with the market program, a clock at `NOW` and a payer."""

    def __init__(self, program: bytes | None = None) -> None:
        self.svm = LiteSVM().with_transaction_history(0)
        self.svm.add_program(CPMM_PROGRAM, program or own_program())
        self.payer = Keypair.from_seed(bytes(31) + b"\xff")
        self.svm.set_account(self.payer.pubkey(), Account(10**18, b"", Pubkey.default()))
        self.set_clock(NOW)

    def set_clock(self, unix_time: int, epoch: int = 0) -> None:
        slot = self.svm.get_clock().slot
        self.svm.set_clock(Clock(slot, 0, epoch, epoch, unix_time))

    def put(
        self, address: Pubkey, owner: Pubkey, data: bytes, lamports: int | None = None
    ) -> Pubkey:
        held = rent_exempt(len(data)) if lamports is None else lamports
        self.svm.set_account(address, Account(held, data, owner))
        return address

    def put_mint(self, mint: Pubkey, decimals: int, program: Pubkey = TOKEN_PROGRAM) -> Pubkey:
        return self.put(mint, program, encode_mint(decimals, U64_MAX, None))

    def put_tokens(
        self, mint: Pubkey, amount: int, owner: Pubkey | None = None, at: Pubkey | None = None
    ) -> Pubkey:
        """Give somebody (the payer, unless told) a token account; wrapped SOL has its lamports."""
        data = encode_token_account(mint, owner or self.payer.pubkey(), amount)
        wrapped = amount if mint == SOL_MINT else 0
        return self.put(at or fresh_key(), TOKEN_PROGRAM, data, rent_exempt(len(data)) + wrapped)

    def put_pool(self, terms: Terms) -> tuple[Pubkey, PoolState]:
        """Make up a pool with mints, vaults, history and tier of its own."""
        address = fresh_key()  # the program derives no pool addresses: any will do
        pool = PoolState(
            config=self._put_config(terms),
            creator=self.payer.pubkey(),
            vaults=(fresh_key(), fresh_key()),
            lp_mint=fresh_key(),
            mints=(self.put_mint(fresh_key(), 6), self.put_mint(fresh_key(), 9)),
            observation=fresh_key(),
            auth_bump=authority_address()[1],
            decimals=(6, 9),
            lp_supply=0,
            open_time=terms.open_time,
            status=terms.status,
            protocol_fees=terms.protocol_fees,
            fund_fees=terms.fund_fees,
            creator_fees=terms.creator_fees,
            creator_fee_on=terms.creator_fee_on,
            enable_creator_fee=terms.enable_creator_fee,
        )
        self.put(address, CPMM_PROGRAM, pool.encode())
        self.put(pool.observation, CPMM_PROGRAM, encode_observations(address, NOW))
        for vault, mint, amount in zip(pool.vaults, pool.mints, terms.vaults, strict=True):
            self.put_tokens(mint, amount, authority_address()[0], vault)
        return address, pool

    def _put_config(self, terms: Terms) -> Pubkey:
        config = AmmConfig(
            index=0,
            bump=0,
            trade_fee_rate=terms.trade,
            protocol_fee_rate=terms.protocol,
            fund_fee_rate=terms.fund,
            creator_fee_rate=terms.creator,
            create_pool_fee=0,
            owner=self.payer.pubkey(),
        )
        return self.put(fresh_key(), CPMM_PROGRAM, config.encode())

    def load_state(self, name: str) -> tuple[Pubkey, PoolState]:
        """Put every account of a recorded state, and the plain mints it leaves out."""
        state = load(f"state_{name}.json")
        accounts: Mapping[str, Mapping[str, Any]] = state["accounts"]
        for text, account in accounts.items():
            data = base64.b64decode(account["data_base64"])
            owner = Pubkey.from_string(account["owner"])
            self.put(Pubkey.from_string(text), owner, data, account["lamports"])
        address = Pubkey.from_string(state["pool"])
        pool = PoolState.decode(self.data(address))
        for mint, decimals in zip(pool.mints, pool.decimals, strict=True):
            if str(mint) not in accounts:
                self.put_mint(mint, decimals)
        return address, pool

    def swap(self, address: Pubkey, pool: PoolState, side: int, holds: int, has: int = 0) -> Swap:
        """Prepare a swap by the payer, with new accounts holding this much of each token."""
        return Swap(
            pool_address=address,
            pool=pool,
            side=side,
            payer=self.payer.pubkey(),
            source=self.put_tokens(pool.mints[side], holds),
            destination=self.put_tokens(pool.mints[1 - side], has),
        )

    def data(self, address: Pubkey) -> bytes:
        account = self.svm.get_account(address)
        assert account is not None
        return bytes(account.data)

    def pool(self, address: Pubkey) -> PoolState:
        return PoolState.decode(self.data(address))

    def amount(self, address: Pubkey) -> int:
        return token_amount(self.data(address))

    def send(self, instruction: Instruction, signers: Sequence[Keypair] = ()) -> Outcome:
        """Run one instruction in a transaction of its own, paid by the payer."""
        self.svm.expire_blockhash()  # the same swap twice is two transactions
        blockhash = self.svm.latest_blockhash()
        message = MessageV0.try_compile(self.payer.pubkey(), [instruction], [], blockhash)
        result = self.svm.send_transaction(VersionedTransaction(message, [self.payer, *signers]))
        if not isinstance(result, FailedTransactionMetadata):
            return Outcome(None, result.logs(), result.compute_units_consumed())
        meta = result.meta()
        return Outcome(_error(result), meta.logs(), meta.compute_units_consumed())


def _error(result: FailedTransactionMetadata) -> int | str:
    inner = getattr(result.err(), "err", result.err())
    code = getattr(inner, "code", None)
    return code if isinstance(code, int) else str(inner).rpartition(".")[2]

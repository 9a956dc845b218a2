"""Orca Whirlpools: concentrated liquidity, with fixed or adaptive fees, traded by `swap_v2`.

Layouts, instructions and formulas follow orca-so/whirlpools, programs/whirlpool/src; the arithmetic
is in the whirlpool_*.py files beside this one.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.engine.ports import Account
from app.transactions.tokens import MEMO_PROGRAM, Mint, decode_mint
from app.transactions.venues.base import (
    ANCHOR_EVENT_LINE,
    Accounts,
    Meaning,
    Moment,
    OneForm,
    Priced,
    Report,
    Swap,
    Terms,
    UserAccounts,
    readonly,
    writable,
)
from app.transactions.venues.shared import refuse, side_in, too_small
from app.transactions.venues.whirlpool_accounts import (
    PROGRAM,
    PoolAccount,
    array_address,
    decode_array,
    decode_oracle,
    decode_pool,
    oracle_address,
)
from app.transactions.venues.whirlpool_errors import MEANINGS, NOT_ENABLED
from app.transactions.venues.whirlpool_fees import (
    INVALID_TIMESTAMP,
    AdaptiveRate,
    FixedRate,
    Oracle,
    Variables,
)
from app.transactions.venues.whirlpool_math import (
    SwapRefused,
)
from app.transactions.venues.whirlpool_swap import (
    ARRAY_TICKS,
    ARRAYS_EXHAUSTED,
    ARRAYS_MAX,
    Path,
    Range,
    TickArray,
    Trade,
    array_starts,
    run,
)

CROSSINGS_MAX: Final = 60
"""Ticks that a swap may cross: each costs up to 8,700 compute units, of 1.4 million."""
STEPS_MAX: Final = 100
"""Steps that a swap may take: an adaptive fee makes one of every group of ticks."""
_SWAP_V2 = bytes.fromhex("2b04ed0b1ac91e62")
_SWAP = struct.Struct("<8sQQ16s??")  # amount, bound, price limit, exact-in, A to B
_NONE_REMAINING = b"\x00"
_SUPPLEMENTAL = b"\x01" + (1).to_bytes(4, "little") + bytes([6, 1])
"""What remaining accounts there are: one slice, of one supplemental tick array."""
_TAILS: Final[Mapping[bytes, int]] = MappingProxyType({_NONE_REMAINING: 0, _SUPPLEMENTAL: 1})
_SWAP_ACCOUNTS = 15
_UNITS, _UNITS_CROSSING, _UNITS_STEP = 60_000, 8_000, 1_000
_EVENT_TAG = bytes.fromhex("e1ca49af932ba096")
_EVENT = struct.Struct("<8s32s?16s16x6Q")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a swap would do: paid and received by the trader, and what it leaves behind."""

    amount_in: int
    amount_out: int
    trade: Trade
    variables: Variables | None
    """The adaptive fee's, afterwards; None in a pool of a fixed fee."""


@dataclass(frozen=True, slots=True)
class Whirlpool:
    """A pool's state; pairs are A, B; tick arrays by their first tick."""

    address: Pubkey
    account: PoolAccount
    mints: tuple[Mint, Mint]
    arrays: Mapping[int, TickArray]
    oracle: Oracle | None
    unix_time: int

    @property
    def decimals(self) -> Mapping[Pubkey, int]:
        """The two mints with their decimals."""
        return {mint.address: mint.decimals for mint in self.mints}

    @property
    def fee_millionths(self) -> int:
        """The fee on what is paid, in millionths; of an adaptive fee the least."""
        return self.account.fee_rate

    def quote(self, swap: Swap) -> Priced:
        """Price a swap exactly as the program would in this state."""
        try:
            outcome = self.outcome(swap, steps_max=STEPS_MAX)
        except SwapRefused as error:
            raise self._refusal(error.code) from error
        trade = outcome.trade
        partial = outcome.amount_in != swap.amount if swap.exact_in else False
        if partial or trade.crossed > CROSSINGS_MAX:
            raise self._refusal(ARRAYS_EXHAUSTED)
        if min(outcome.amount_in, outcome.amount_out) <= 0:
            raise too_small()
        units = _UNITS + _UNITS_CROSSING * trade.crossed + _UNITS_STEP * trade.steps
        moved_in, moved_out = trade.amount_in - trade.fee, trade.amount_out
        amounts = (outcome.amount_in, outcome.amount_out)
        return Priced(*amounts, trade.fee, units, moved_in, moved_out)

    def require_open(self) -> None:
        """Pass when the pool takes swaps now, and there is liquidity at its price."""
        try:
            self._require_enabled()
        except SwapRefused as error:
            raise self._refusal(error.code) from error
        if self.account.liquidity == 0:
            what = f"pool {self.address} has no liquidity at its price"
            raise RefusedError(ReasonCode.INSUFFICIENT_LIQUIDITY, what)

    def outcome(
        self, swap: Swap, sqrt_price_limit: int = 0, *, steps_max: int | None = None
    ) -> Outcome:
        """Do a swap on paper, of whatever size. Raises SwapRefused with the program's own code.

        Amounts are the trader's: transfer fees come on top of what the pool takes, and off what it
        gives. `sqrt_price_limit` 0 is none; after `steps_max` steps it is too large.
        """
        side = side_in(self.address, self.account.mints, swap)
        fee_in, fee_out = self.mints[side].fee, self.mints[1 - side].fee
        self._require_enabled()
        amount = swap.amount
        amount += -fee_in.of(amount) if swap.exact_in else fee_out.on_top(amount)
        trade, variables = self._run(swap, amount, sqrt_price_limit, steps_max, a_to_b=side == 0)
        if not swap.exact_in:
            paid = trade.amount_in + fee_in.on_top(trade.amount_in)
            whole = trade.amount_out == amount
            received = swap.amount if whole else trade.amount_out - fee_out.of(trade.amount_out)
            return Outcome(paid, received, trade, variables)
        whole = trade.amount_in == amount
        paid = swap.amount if whole else trade.amount_in + fee_in.on_top(trade.amount_in)
        return Outcome(paid, trade.amount_out - fee_out.of(trade.amount_out), trade, variables)

    def worth(self, mint: Pubkey, amount: int) -> int:
        """Say an amount of one mint in the other at the pool's price, without fees; rounded down."""
        square = self.account.sqrt_price**2
        if self.account.mints.index(mint) == 0:
            return amount * square >> 128
        return (amount << 128) // square

    def build(self, swap: Swap, bound: int, user: UserAccounts) -> Instruction:
        """Give the swap's instruction; `bound` is the least received or the most paid.

        It bears no price limit, which could fill in part, and the tick array behind the price too:
        the price may move into it before the swap runs.
        """
        side = side_in(self.address, self.account.mints, swap)
        a_to_b = side == 0
        arrays, spare = self._arrays_passed(a_to_b=a_to_b)
        data = _SWAP.pack(_SWAP_V2, swap.amount, bound, bytes(16), swap.exact_in, a_to_b)
        own = (user.source, user.destination) if a_to_b else (user.destination, user.source)
        vaults, first, second = self.account.vaults, *self.mints
        accounts = [
            readonly(first.program),
            readonly(second.program),
            readonly(MEMO_PROGRAM),
            AccountMeta(user.owner, is_signer=True, is_writable=False),
            writable(self.address),
            readonly(first.address),
            readonly(second.address),
            *(writable(each) for pair in zip(own, vaults, strict=True) for each in pair),
            *(writable(array_address(self.address, start)) for start in arrays),
            writable(oracle_address(self.address)),
            *(writable(array_address(self.address, start)) for start in spare),
        ]
        return Instruction(PROGRAM, data + (_SUPPLEMENTAL if spare else _NONE_REMAINING), accounts)

    def as_before(self, swap: Swap, report: Report) -> "Whirlpool | None":
        """Give the pool as it was right before a reported swap: this one, when its price was the same.

        The event tells no liquidity; and an adaptive fee depends on the second in which the swap runs.
        """
        del swap
        same = self.oracle is None and report.before == (self.account.sqrt_price,)
        return self if same else None

    def _arrays_passed(self, *, a_to_b: bool) -> tuple[Sequence[int], Sequence[int]]:
        """Give the first ticks of the three arrays ahead, and of the one behind where there may be one."""
        tick, spacing = self.account.tick, self.account.spacing
        ahead = array_starts(tick, spacing, a_to_b=a_to_b)
        behind = ahead[0] + (1 if a_to_b else -1) * ARRAY_TICKS * spacing
        spare = [behind] if behind in self.arrays else []
        return [*ahead, *[ahead[-1]] * (ARRAYS_MAX - len(ahead))], spare

    def _require_enabled(self) -> None:
        if self.oracle is not None and self.unix_time < self.oracle.enabled_at:
            raise SwapRefused(NOT_ENABLED)
        if self.unix_time < self.account.rewarded_at:
            raise SwapRefused(INVALID_TIMESTAMP)

    def _run(
        self, swap: Swap, amount: int, limit: int, steps_max: int | None, *, a_to_b: bool
    ) -> tuple[Trade, Variables | None]:
        pool = self.account
        place = Range(pool.sqrt_price, pool.tick, pool.liquidity)
        starts = array_starts(pool.tick, pool.spacing, a_to_b=a_to_b)
        path = Path([self.arrays[start] for start in starts], pool.spacing, a_to_b=a_to_b)
        rate = self._rate(a_to_b=a_to_b)
        trade = run(
            place,
            path,
            rate,
            amount=amount,
            a_to_b=a_to_b,
            exact_in=swap.exact_in,
            sqrt_price_limit=limit,
            steps_max=steps_max,
        )
        if isinstance(rate, FixedRate):
            return trade, None
        return trade, rate.after(pool.sqrt_price, trade.after.sqrt_price)

    def _rate(self, *, a_to_b: bool) -> FixedRate | AdaptiveRate:
        pool = self.account
        if self.oracle is None:
            return FixedRate(pool.fee_rate)
        return AdaptiveRate(self.oracle, pool.fee_rate, pool.tick, self.unix_time, a_to_b=a_to_b)

    def _refusal(self, code: int) -> Synergy7Error:
        meaning = MEANINGS[code]
        what = f"pool {self.address}: {meaning.words}"
        if meaning.retryable and code != ARRAYS_EXHAUSTED:
            return TransientError(meaning.code, what)
        return RefusedError(meaning.code, what, todo="trade another size")


class OrcaWhirlpool(OneForm):
    """Orca's concentrated liquidity pools, of either token program."""

    name: Final = "orca_whirlpool"
    program: Final = PROGRAM
    event_line: Final = ANCHOR_EVENT_LINE

    def accounts_needed(self, address: Pubkey, account: Account) -> tuple[Pubkey, ...]:
        """Name the tick arrays around the price, and the oracle where the fee is adaptive."""
        pool = decode_pool(account)
        if pool is None:
            return ()
        arrays = (array_address(address, start) for start in _starts(pool))
        return (*arrays, *([oracle_address(address)] if pool.adaptive else []))

    def decode(self, address: Pubkey, accounts: Accounts, moment: Moment) -> Whirlpool:
        """Read a pool strictly; anything unexpected is RefusedError(POOL_INVALID).

        Raises TransientError(CHAIN_UNAVAILABLE) when a tick array was not read: the price has moved
        meanwhile, and unlike one that is not there, it may hold liquidity.
        """
        pool = decode_pool(accounts.get(str(address)))
        if pool is None:
            refuse(address, f"is no pool of program {PROGRAM}")
        first, second = (
            decode_mint(mint, accounts.get(str(mint)), moment.epoch) for mint in pool.mints
        )
        return Whirlpool(
            address=address,
            account=pool,
            mints=(first, second),
            arrays={start: _array(address, start, accounts) for start in _starts(pool)},
            oracle=_oracle(address, pool, accounts),
            unix_time=moment.unix_time,
        )

    def terms(self, accounts: Sequence[Pubkey], data: bytes) -> Terms | None:
        """Read a swap instruction back; None for any other, and for one that may fill in part."""
        if len(data) < _SWAP.size or data[_SWAP.size :] not in _TAILS:
            return None
        if len(accounts) != _SWAP_ACCOUNTS + _TAILS[data[_SWAP.size :]]:
            return None
        tag, amount, bound, limit, exact_in, a_to_b = _SWAP.unpack_from(data)
        if tag != _SWAP_V2 or any(limit):
            return None
        (user_a, vault_a), (user_b, vault_b) = accounts[7:9], accounts[9:11]
        sides = ((user_a, vault_a), (user_b, vault_b))
        (source, vault_in), (destination, vault_out) = sides if a_to_b else sides[::-1]
        user = UserAccounts(accounts[3], source, destination)
        return Terms(accounts[4], user, vault_in, vault_out, exact_in, amount, bound)

    def parse_fill(self, pool: Pubkey, events: Iterable[bytes]) -> Report | None:
        """Find the pool's swap among the events that the program itself wrote.

        The input is told with its transfer fee, the output before its own is taken off.
        """
        for event in events:
            if len(event) < _EVENT.size or event[:8] != _EVENT_TAG or event[8:40] != bytes(pool):
                continue
            _, _, _, price, paid, sent, fee_in, fee_out, *fees = _EVENT.unpack_from(event)
            before = (int.from_bytes(price, "little"),)
            return Report(paid, sent - fee_out, paid - fee_in, sent, sum(fees), before)
        return None

    def classify_error(self, code: int) -> Meaning | None:
        """Say what one of the program's own error codes means; None for an unknown one."""
        return MEANINGS.get(code)


def _starts(pool: PoolAccount) -> tuple[int, ...]:
    """Give the first ticks of all arrays that swaps of either direction may go through or be passed."""
    down, up = (array_starts(pool.tick, pool.spacing, a_to_b=each) for each in (True, False))
    return tuple(sorted({*down, *up}))


def _array(pool: Pubkey, start: int, accounts: Accounts) -> TickArray:
    address = str(array_address(pool, start))
    if address not in accounts:
        what = f"the price of pool {pool} moved while it was read"
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
    array = decode_array(pool, start, accounts[address])
    if array is None:
        refuse(pool, "has a tick array that is not its own")
    return array


def _oracle(pool: Pubkey, account: PoolAccount, accounts: Accounts) -> Oracle | None:
    if not account.adaptive:
        return None
    oracle = decode_oracle(pool, accounts.get(str(oracle_address(pool))))
    if oracle is None:
        refuse(pool, "has an adaptive fee and no oracle")
    return oracle

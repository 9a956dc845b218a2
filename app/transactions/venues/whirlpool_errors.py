"""What the error codes of Orca Whirlpools mean (orca-so/whirlpools, programs/whirlpool/src/errors.rs)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.domain.errors import ReasonCode
from app.transactions.venues.base import Meaning, lasting, passing
from app.transactions.venues.whirlpool_fees import INVALID_TIMESTAMP
from app.transactions.venues.whirlpool_math import (
    DIVIDE_BY_ZERO,
    SHIFT_RIGHT_OVERFLOW,
    SQRT_PRICE_OUT_OF_BOUNDS,
    TOKEN_MAX_EXCEEDED,
    TOKEN_MIN_SUBCEEDED,
)
from app.transactions.venues.whirlpool_swap import (
    AMOUNT_OVERFLOW,
    ARRAYS_EXHAUSTED,
    PARTIAL_FILL,
    WRONG_DIRECTION,
    ZERO_AMOUNT,
)

NOT_ENABLED: Final = 6064
MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        6003: passing("TickArrayIndexOutofBounds", "the price has left the tick arrays"),
        DIVIDE_BY_ZERO: lasting(
            "DivideByZero", "the pool cannot give as much", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        SQRT_PRICE_OUT_OF_BOUNDS: lasting(
            "SqrtPriceOutOfBounds",
            "the swap would leave the prices that there are",
            ReasonCode.INSUFFICIENT_LIQUIDITY,
        ),
        TOKEN_MAX_EXCEEDED: lasting(
            "TokenMaxExceeded", "the pool cannot give as much", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        TOKEN_MIN_SUBCEEDED: lasting(
            "TokenMinSubceeded", "the pool cannot take as much", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        INVALID_TIMESTAMP: passing("InvalidTimestamp", "the pool's clock is ahead of the chain's"),
        6023: passing("InvalidTickArraySequence", "the price has left the tick arrays"),
        SHIFT_RIGHT_OVERFLOW: lasting(
            "MultiplicationShiftRightOverflow",
            "the pool cannot take as much",
            ReasonCode.INSUFFICIENT_LIQUIDITY,
        ),
        WRONG_DIRECTION: lasting(
            "InvalidSqrtPriceLimitDirection", "the price limit is on the wrong side"
        ),
        ZERO_AMOUNT: lasting(
            "ZeroTradableAmount", "there is nothing to swap", ReasonCode.SIZE_TOO_SMALL
        ),
        6036: passing(
            "AmountOutBelowMinimum",
            "the price moved beyond the order's bound",
            ReasonCode.SLIPPAGE_EXCEEDED,
        ),
        6037: passing(
            "AmountInAboveMaximum",
            "the price moved beyond the order's bound",
            ReasonCode.SLIPPAGE_EXCEEDED,
        ),
        # as a quote it is exact, and lasting; on chain the price may have left the arrays meanwhile
        ARRAYS_EXHAUSTED: passing(
            "TickArraySequenceInvalidIndex",
            "the swap is too large for the liquidity near the price",
            ReasonCode.INSUFFICIENT_LIQUIDITY,
        ),
        AMOUNT_OVERFLOW: lasting(
            "AmountCalcOverflow", "an amount does not fit", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        6040: lasting(
            "AmountRemainingOverflow", "an amount does not fit", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        6047: lasting(
            "UnsupportedTokenMint", "the program does not trade this mint", ReasonCode.POOL_INVALID
        ),
        6048: lasting("RemainingAccountsInvalidSlice", "accounts are missing"),
        6049: lasting("RemainingAccountsInsufficient", "accounts are missing"),
        6050: lasting("NoExtraAccountsForTransferHook", "accounts are missing"),
        6053: lasting("IntermediateTokenAmountMismatch", "two swaps do not fit together"),
        6055: lasting("RemainingAccountsDuplicatedAccountsType", "accounts are named twice"),
        6056: lasting("DifferentWhirlpoolTickArrayAccount", "a tick array is another pool's"),
        PARTIAL_FILL: lasting(
            "PartialFillError", "the pool cannot give as much", ReasonCode.INSUFFICIENT_LIQUIDITY
        ),
        NOT_ENABLED: passing(
            "TradeIsNotEnabled", "the pool is not open yet", ReasonCode.MARKET_CLOSED
        ),
    }
)

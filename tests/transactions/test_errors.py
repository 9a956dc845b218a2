"""Failures are read by the program that failed, and sorted by whether a new quote may help."""

import pytest

from app.engine.ports import Explained
from app.transactions.errors import explain
from app.transactions.venues import known_venues

VENUE = "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
SYSTEM = "11111111111111111111111111111111"
ASSOCIATED = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
STRANGER = "CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK"
WHIRLPOOL = "whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc"
AMM_V4 = "675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8"


def explained(error: object, *logs: str) -> Explained:
    """Explain with the known venues."""
    return explain(error, logs, known_venues())


def custom(program: str, code: int) -> Explained:
    """Explain a custom code that a program failed with."""
    line = f"Program {program} failed: custom program error: 0x{code:x}"
    return explained({"InstructionError": [4, {"Custom": code}]}, line)


CUSTOM = [
    (VENUE, 6000, "NotApproved", "MARKET_CLOSED", True),
    (VENUE, 6005, "ExceededSlippage", "SLIPPAGE_EXCEEDED", True),
    (VENUE, 6006, "ZeroTradingTokens", "INSUFFICIENT_LIQUIDITY", False),
    (VENUE, 6007, "NotSupportMint", "POOL_INVALID", False),
    (VENUE, 6013, "InvalidFeeModel", "POOL_INVALID", False),
    (VENUE, 6008, "InvalidVault", "POOL_INVALID", False),
    (VENUE, 6012, "InsufficientVault", "INSUFFICIENT_LIQUIDITY", False),
    (VENUE, 2505, "RequireGtViolated", "SIZE_TOO_SMALL", False),
    (VENUE, 2012, "ConstraintAddress", "PROGRAM_ERROR", False),
    (VENUE, 3012, "AccountNotInitialized", "PROGRAM_ERROR", True),
    (VENUE, 6777, "Custom6777", "PROGRAM_ERROR", False),
    (WHIRLPOOL, 6036, "AmountOutBelowMinimum", "SLIPPAGE_EXCEEDED", True),
    (WHIRLPOOL, 6037, "AmountInAboveMaximum", "SLIPPAGE_EXCEEDED", True),
    (WHIRLPOOL, 6038, "TickArraySequenceInvalidIndex", "INSUFFICIENT_LIQUIDITY", True),
    (WHIRLPOOL, 6023, "InvalidTickArraySequence", "PROGRAM_ERROR", True),
    (WHIRLPOOL, 6064, "TradeIsNotEnabled", "MARKET_CLOSED", True),
    (WHIRLPOOL, 6005, "Custom6005", "PROGRAM_ERROR", False),
    (AMM_V4, 30, "ExceededSlippage", "SLIPPAGE_EXCEEDED", True),
    (AMM_V4, 40, "InsufficientFunds", "INSUFFICIENT_FUNDS", False),
    (AMM_V4, 22, "InvalidStatus", "MARKET_CLOSED", True),
    (AMM_V4, 1, "Custom1", "PROGRAM_ERROR", False),
    (TOKEN, 1, "InsufficientFunds", "INSUFFICIENT_FUNDS", False),
    (TOKEN_2022, 17, "AccountFrozen", "PROGRAM_ERROR", False),
    (SYSTEM, 0, "AccountAlreadyInUse", "PROGRAM_ERROR", True),
    (SYSTEM, 1, "ResultWithNegativeLamports", "INSUFFICIENT_FUNDS", False),
    (ASSOCIATED, 0, "InvalidOwner", "PROGRAM_ERROR", False),
    (MEMO, 3, "memo:3", "PROGRAM_ERROR", False),
    (STRANGER, 6036, "Custom6036", "PROGRAM_ERROR", False),
    (STRANGER, 1, "Custom1", "PROGRAM_ERROR", False),
]


@pytest.mark.parametrize(("program", "code", "name", "reason", "retryable"), CUSTOM)
def test_a_code_means_what_its_program_says(
    program: str, code: int, name: str, reason: str, retryable: bool
) -> None:
    """The same number is another error in another program."""
    found = custom(program, code)
    assert (found.error.name, found.code, found.retryable) == (name, reason, retryable)


RAW: list[tuple[object, str, str, bool]] = [
    ("InsufficientFundsForFee", "InsufficientFundsForFee", "INSUFFICIENT_FUNDS", False),
    ("AccountNotFound", "AccountNotFound", "INSUFFICIENT_FUNDS", False),
    ("BlockhashNotFound", "BlockhashNotFound", "ATTEMPT_EXPIRED", True),
    ("AlreadyProcessed", "AlreadyProcessed", "PROGRAM_ERROR", True),
    ("AccountInUse", "AccountInUse", "CHAIN_UNAVAILABLE", True),
    ("NewNameOfALaterRelease", "NewNameOfALaterRelease", "PROGRAM_ERROR", False),
    (
        {"InsufficientFundsForRent": {"account_index": 0}},
        "InsufficientFundsForRent",
        "INSUFFICIENT_FUNDS",
        False,
    ),
    (
        {"InsufficientFundsForRent": {"account_index": 6}},
        "InsufficientFundsForRent",
        "PROGRAM_ERROR",
        False,
    ),
    ({"DuplicateInstruction": 1}, "DuplicateInstruction", "PROGRAM_ERROR", False),
    (
        {"ProgramExecutionTemporarilyRestricted": {"account_index": 3}},
        "ProgramExecutionTemporarilyRestricted",
        "CHAIN_UNAVAILABLE",
        True,
    ),
    (
        {"InstructionError": [4, "ComputationalBudgetExceeded"]},
        "ComputationalBudgetExceeded",
        "PROGRAM_ERROR",
        True,
    ),
    (
        {"InstructionError": [4, {"BorshIoError": "x"}]},
        "BorshIoError",
        "PROGRAM_ERROR",
        False,
    ),
    ({"InstructionError": [4, {"Custom": 6005}]}, "ExceededSlippage", "SLIPPAGE_EXCEEDED", True),
    ({"InstructionError": [4, {"Custom": 1}]}, "Custom1", "PROGRAM_ERROR", False),
    ({"InstructionError": [4, {"Custom": 6999}]}, "Custom6999", "PROGRAM_ERROR", False),
    ({"InstructionError": [4]}, "InstructionError", "PROGRAM_ERROR", False),
    ({}, "Unknown", "PROGRAM_ERROR", False),
    (17, "Unknown", "PROGRAM_ERROR", False),
]


@pytest.mark.parametrize(("raw", "name", "reason", "retryable"), RAW)
def test_an_error_without_a_log_is_read_from_its_raw_value(
    raw: object, name: str, reason: str, retryable: bool
) -> None:
    """Names of the runtime are known; a code alone counts only where no two programs share it."""
    found = explained(raw)
    assert (found.error.name, found.code, found.retryable) == (name, reason, retryable)
    assert found.error.raw is raw


def test_a_failure_without_a_code_is_read_from_the_raw_value() -> None:
    """A program that ran out of units fails by the runtime's name."""
    line = f"Program {VENUE} failed: exceeded CUs meter at BPF instruction"
    found = explained({"InstructionError": [4, "ProgramFailedToComplete"]}, line)
    assert (found.error.name, found.retryable) == ("ProgramFailedToComplete", True)


def test_a_failure_in_the_log_does_not_overrule_a_failure_of_the_whole() -> None:
    """Only an error of an instruction is explained by a program's failure."""
    line = f"Program {VENUE} failed: custom program error: 0x1775"
    assert explained("InsufficientFundsForFee", line).error.name == "InsufficientFundsForFee"

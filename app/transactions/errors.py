"""Failures of transactions in words: what failed, and whether a new quote may help.

A custom code means something only together with the program that gave it, so the innermost failure
in the log decides; the raw `err` value decides only where the log is silent.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from solders.compute_budget import ID as COMPUTE_BUDGET

from app.domain.errors import ReasonCode
from app.domain.outcome import ProgramError
from app.engine.ports import Explained
from app.transactions.logs import Failure, failure
from app.transactions.tokens import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from app.transactions.venues.base import Meaning, Venue, lasting, passing

_FUNDS = ReasonCode.INSUFFICIENT_FUNDS
_CHAIN = ReasonCode.CHAIN_UNAVAILABLE

Meanings = Mapping[int, Meaning]


def _table(*rows: tuple[int, Meaning]) -> Meanings:
    return MappingProxyType(dict(rows))


_SYSTEM: Final = _table(
    (0, passing("AccountAlreadyInUse", "the temporary account's address is taken")),
    (1, lasting("ResultWithNegativeLamports", "the wallet has too little SOL", _FUNDS)),
    (5, lasting("AddressWithSeedMismatch", "the temporary account's seed does not fit it")),
)
_TOKEN: Final = _table(
    (0, lasting("NotRentExempt", "a token account has too little SOL for its rent", _FUNDS)),
    (1, lasting("InsufficientFunds", "the wallet holds too little of the token", _FUNDS)),
    (2, lasting("InvalidMint", "an account is no mint")),
    (3, lasting("MintMismatch", "a token account is of another mint")),
    (4, lasting("OwnerMismatch", "a token account belongs to another owner")),
    (6, passing("AlreadyInUse", "the temporary account is in use")),
    (9, passing("UninitializedState", "a token account does not exist yet")),
    (11, lasting("NonNativeHasBalance", "an account to be closed still holds tokens")),
    (12, lasting("InvalidInstruction", "the token program does not know the instruction")),
    (13, lasting("InvalidState", "a token account is in the wrong state")),
    (14, lasting("Overflow", "an amount does not fit")),
    (17, lasting("AccountFrozen", "a token account is frozen")),
    (18, lasting("MintDecimalsMismatch", "the mint has other decimals")),
)
_ASSOCIATED: Final = _table(
    (0, lasting("InvalidOwner", "the associated token account belongs to another owner")),
)
# What programs made with Anchor share (anchor-lang `error.rs`).
_ANCHOR: Final = _table(
    (101, lasting("InstructionFallbackNotFound", "the program does not know the instruction")),
    (102, lasting("InstructionDidNotDeserialize", "the program cannot read the instruction")),
    (2000, lasting("ConstraintMut", "an account is not writable")),
    (2001, lasting("ConstraintHasOne", "an account does not belong to another")),
    (2002, lasting("ConstraintSigner", "a signature is missing")),
    (2003, lasting("ConstraintRaw", "an account is not the expected one")),
    (2004, lasting("ConstraintOwner", "an account belongs to another program")),
    (2006, lasting("ConstraintSeeds", "an account has the wrong address")),
    (2012, lasting("ConstraintAddress", "an account has the wrong address")),
    (2014, lasting("ConstraintTokenMint", "a token account is of another mint")),
    (2015, lasting("ConstraintTokenOwner", "a token account belongs to another owner")),
    (2505, lasting("RequireGtViolated", "an amount is not above what the program demands")),
    (2506, lasting("RequireGteViolated", "an amount is below what the program demands")),
    (3001, lasting("AccountDiscriminatorNotFound", "an account is of no known kind")),
    (3002, lasting("AccountDiscriminatorMismatch", "an account is of another kind")),
    (3003, lasting("AccountDidNotDeserialize", "an account cannot be read")),
    (3005, lasting("AccountNotEnoughKeys", "accounts are missing")),
    (3006, lasting("AccountNotMutable", "an account is not writable")),
    (3007, lasting("AccountOwnedByWrongProgram", "an account belongs to another program")),
    (3008, lasting("InvalidProgramId", "a program has the wrong address")),
    (3010, lasting("AccountNotSigner", "a signature is missing")),
    (3012, passing("AccountNotInitialized", "an account does not exist yet")),
    (4100, lasting("DeclaredProgramIdMismatch", "the program is deployed elsewhere")),
)
_BUILT_IN: Final[Mapping[str, tuple[str, Meanings]]] = MappingProxyType(
    {
        str(SYSTEM_PROGRAM): ("system", _SYSTEM),
        str(TOKEN_PROGRAM): ("token", _TOKEN),
        str(TOKEN_2022_PROGRAM): ("token-2022", _TOKEN),
        str(ATA_PROGRAM): ("associated-token", _ASSOCIATED),
        str(MEMO_PROGRAM): ("memo", _table()),
        str(COMPUTE_BUDGET): ("compute-budget", _table()),
    }
)
# Names of the runtime, for whole transactions and for single instructions.
_RUNTIME: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        each.name: each
        for each in (
            lasting("InsufficientFundsForFee", "the wallet cannot pay the fee", _FUNDS),
            lasting("InsufficientFunds", "the wallet has too little SOL", _FUNDS),
            lasting("AccountNotFound", "the wallet has no SOL", _FUNDS),
            lasting("InvalidAccountForFee", "the wallet's account cannot pay fees", _FUNDS),
            passing(
                "BlockhashNotFound",
                "the blockhash has expired or is not known yet",
                ReasonCode.ATTEMPT_EXPIRED,
            ),
            passing("AlreadyProcessed", "the chain has this very transaction already"),
            passing("ComputationalBudgetExceeded", "the compute limit was too low"),
            passing("ProgramFailedToComplete", "a program did not come to its end"),
            passing("UninitializedAccount", "an account does not exist yet"),
            *(
                passing(name, "the network cannot take the transaction now", _CHAIN)
                for name in (
                    "AccountInUse",
                    "ClusterMaintenance",
                    "CommitCancelled",
                    "ProgramCacheHitMaxLimit",
                    "ProgramExecutionTemporarilyRestricted",
                    "ResanitizationNeeded",
                    "WouldExceedMaxBlockCostLimit",
                    "WouldExceedMaxAccountCostLimit",
                    "WouldExceedMaxVoteCostLimit",
                    "WouldExceedAccountDataBlockLimit",
                    "WouldExceedAccountDataTotalLimit",
                )
            ),
        )
    }
)
_ANCHOR_CUSTOM_FROM = 6000


def explain(error: object, logs: Sequence[str], venues: Mapping[str, Venue]) -> Explained:
    """Decode a failure; `error` is the raw `err` value and is kept as it is."""
    meaning = _meaning(error, failure(logs), {str(v.program): v for v in venues.values()})
    decoded = ProgramError(name=meaning.name, words=meaning.words, raw=error)
    return Explained(decoded, meaning.code, meaning.retryable)


def _meaning(error: object, found: Failure | None, venues: Mapping[str, Venue]) -> Meaning:
    inner = _instruction_error(error)
    if inner is None:
        return _rent(error) or _named(_name(error))
    if found is not None and found.code is not None:
        return _custom(found.program, found.code, venues)
    code = inner.get("Custom") if isinstance(inner, Mapping) else None
    if isinstance(code, int):
        return _custom_of_unknown(code, venues)
    return _named(_name(inner))


def _instruction_error(error: object) -> object | None:
    """Give the second part of `{"InstructionError": [index, what]}`, None for any other error."""
    if not isinstance(error, Mapping):
        return None
    parts = error.get("InstructionError")
    if isinstance(parts, Sequence) and not isinstance(parts, str) and len(parts) == len("iw"):
        second: object = parts[1]
        return second
    return None


def _rent(error: object) -> Meaning | None:
    """Tell the fee payer's shortage of SOL (account 0) from that of another account."""
    name = "InsufficientFundsForRent"
    where = error.get(name) if isinstance(error, Mapping) else None
    if not isinstance(where, Mapping):
        return None
    if where.get("account_index") == 0:
        return lasting(name, "the wallet would be left with too little SOL", _FUNDS)
    return lasting(name, "an account that is paid would be left with too little SOL")


def _name(error: object) -> str:
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping) and error:
        return str(next(iter(error)))
    return "Unknown"


def _named(name: str) -> Meaning:
    return _RUNTIME.get(name) or lasting(name, "the runtime refused the transaction")


def _custom(program: str, code: int, venues: Mapping[str, Venue]) -> Meaning:
    if program in _BUILT_IN:
        name, table = _BUILT_IN[program]
        return table.get(code) or lasting(f"{name}:{code}", f"the {name} program refused: {code}")
    venue = venues.get(program)
    known = venue.classify_error(code) if venue is not None else None
    return known or _ANCHOR.get(code) or lasting(f"Custom{code}", f"program {program}: {code}")


def _custom_of_unknown(code: int, venues: Mapping[str, Venue]) -> Meaning:
    """Read a code whose program the log does not tell: only venues use codes this high."""
    known = [venue.classify_error(code) for venue in venues.values()]
    meanings = {each for each in known if each is not None}
    if code >= _ANCHOR_CUSTOM_FROM and len(meanings) == 1:
        return meanings.pop()
    return lasting(f"Custom{code}", f"a program refused with its code {code}")

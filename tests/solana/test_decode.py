"""Strict reading of JSON-RPC results: a shape that is not as documented is refused, and only refused."""

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Blockhash
from app.domain.outcome import Absent, Commitment, Heights, Seen
from app.engine.ports import Account, LandedTransaction, Simulation, Snapshot
from app.solana import decode

CONTEXT = {"slot": 77, "apiVersion": "2.1"}
BLOCKHASH: dict[str, Any] = {
    "context": CONTEXT,
    "value": {"blockhash": "hash", "lastValidBlockHeight": 150},
}
EPOCH: dict[str, Any] = {"absoluteSlot": 90, "blockHeight": 80, "epoch": 1}
STATUS: dict[str, Any] = {
    "slot": 70,
    "confirmations": 3,
    "err": None,
    "confirmationStatus": "confirmed",
}
OWNER = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
STATUSES: dict[str, Any] = {"context": CONTEXT, "value": [STATUS, None]}
ACCOUNTS: dict[str, Any] = {
    "context": CONTEXT,
    "value": [
        {"lamports": 5, "owner": OWNER, "data": [base64.b64encode(b"data").decode(), "base64"]},
        None,
    ],
}
SIMULATION: dict[str, Any] = {
    "context": CONTEXT,
    "value": {"err": {"InstructionError": [0, 1]}, "logs": ["a", "b"], "unitsConsumed": 9},
}
TRANSACTION: dict[str, Any] = {
    "slot": 70,
    "meta": {
        "err": None,
        "fee": 5_000,
        "preBalances": [10, 20, 30],
        "postBalances": [4, 25, 30],
        "logMessages": ["log"],
        "loadedAddresses": {"writable": ["w"], "readonly": ["r"]},
        "preTokenBalances": [{"accountIndex": 1, "uiTokenAmount": {"amount": "7"}}],
        "postTokenBalances": [{"accountIndex": 1, "uiTokenAmount": {"amount": "9"}}],
    },
    "transaction": {"message": {"accountKeys": ["k"]}},
}
Read = Callable[[object], object]


def statuses(result: object) -> object:
    """Read statuses of two signatures."""
    return decode.statuses(result, 2)


def snapshot(result: object) -> object:
    """Read two accounts."""
    return decode.snapshot(result, ["one", "two"])


def transaction(result: object) -> object:
    """Read a transaction."""
    return decode.transaction(result, "signature")


LANDED = LandedTransaction(
    signature="signature",
    slot=70,
    error=None,
    fee_lamports=5_000,
    logs=("log",),
    account_keys=("k", "w", "r"),
    lamports_before=(10, 20, 30),
    lamports_after=(4, 25, 30),
    tokens_before={1: 7},
    tokens_after={1: 9},
)
FEES = [{"slot": 8, "prioritizationFee": 0}, {"slot": 9, "prioritizationFee": 7}]
SOUND: list[tuple[str, Read, Any, object]] = [
    ("blockhash", decode.blockhash, BLOCKHASH, Blockhash("hash", 150, 77)),
    ("heights", decode.heights, EPOCH, Heights(90, 80)),
    ("statuses", statuses, STATUSES, [Seen(70, Commitment.CONFIRMED, None, 77), Absent(77)]),
    (
        "accounts",
        snapshot,
        ACCOUNTS,
        Snapshot(77, {"one": Account(5, OWNER, b"data"), "two": None}),
    ),
    (
        "simulation",
        decode.simulation,
        SIMULATION,
        Simulation({"InstructionError": [0, 1]}, ("a", "b"), 9, 77),
    ),
    ("transaction", transaction, TRANSACTION, LANDED),
    ("recent fees", decode.recent_fees, FEES, [0, 7]),
]
NAMES = [each[0] for each in SOUND]


@pytest.mark.parametrize(("read", "document", "wanted"), [s[1:] for s in SOUND], ids=NAMES)
def test_a_documented_shape_is_read(read: Read, document: object, wanted: object) -> None:
    """Every field that is used, exactly."""
    assert read(document) == wanted


def changed(document: Any, path: tuple[object, ...], value: object) -> Any:
    """Give a document with one place of it set."""
    made = copy.deepcopy(document)
    inner: Any = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


WRONG: list[tuple[Read, Any, tuple[object, ...], object]] = [
    (decode.blockhash, BLOCKHASH, ("context",), None),
    (decode.blockhash, BLOCKHASH, ("value", "lastValidBlockHeight"), -1),
    (decode.blockhash, BLOCKHASH, ("value", "lastValidBlockHeight"), True),
    (decode.blockhash, BLOCKHASH, ("value", "lastValidBlockHeight"), "150"),
    (decode.blockhash, BLOCKHASH, ("value", "blockhash"), None),
    (decode.heights, EPOCH, ("blockHeight",), None),
    (decode.heights, EPOCH, ("absoluteSlot",), 1.5),
    (statuses, STATUSES, ("value",), [None]),
    (statuses, STATUSES, ("value",), None),
    (statuses, STATUSES, ("value", 0), "confirmed"),
    (statuses, STATUSES, ("value", 0, "confirmationStatus"), "certain"),
    (statuses, STATUSES, ("value", 0, "slot"), None),
    (snapshot, ACCOUNTS, ("value",), [None]),
    (snapshot, ACCOUNTS, ("value", 0, "data"), []),
    (snapshot, ACCOUNTS, ("value", 0, "data"), "base64"),
    (snapshot, ACCOUNTS, ("value", 0, "data", 0), "no base64!"),
    (snapshot, ACCOUNTS, ("value", 0, "lamports"), "5"),
    (snapshot, ACCOUNTS, ("value", 0, "owner"), ""),
    (snapshot, ACCOUNTS, ("value", 0, "owner"), "nobody"),
    (decode.simulation, SIMULATION, ("value", "logs"), [1]),
    (decode.simulation, SIMULATION, ("value", "unitsConsumed"), -5),
    (decode.recent_fees, FEES, (0,), 5),
    (decode.recent_fees, FEES, (0, "slot"), None),
    (decode.recent_fees, FEES, (1, "prioritizationFee"), -1),
    (decode.recent_fees, FEES, (1, "prioritizationFee"), "7"),
    (decode.recent_fees, FEES, (1, "prioritizationFee"), True),
    (transaction, TRANSACTION, ("meta",), None),
    (transaction, TRANSACTION, ("meta", "preBalances"), [1]),
    (transaction, TRANSACTION, ("meta", "loadedAddresses"), None),
    (transaction, TRANSACTION, ("meta", "fee"), "5000"),
    (transaction, TRANSACTION, ("meta", "preTokenBalances", 0, "uiTokenAmount"), None),
    (
        transaction,
        TRANSACTION,
        ("meta", "preTokenBalances", 0, "uiTokenAmount", "amount"),
        "-7",
    ),
    (
        transaction,
        TRANSACTION,
        ("meta", "preTokenBalances", 0, "uiTokenAmount", "amount"),
        "seven",
    ),
    (transaction, TRANSACTION, ("transaction", "message", "accountKeys"), [1, 2, 3]),
]


@pytest.mark.parametrize(("read", "document", "path", "value"), WRONG)
def test_another_shape_is_refused(
    read: Read, document: Any, path: tuple[object, ...], value: object
) -> None:
    """One field of the wrong kind is enough."""
    with pytest.raises(ValueError, match=r"\w"):
        read(changed(document, path, value))


@pytest.mark.parametrize(
    ("read", "document", "place"),
    [
        (statuses, STATUSES, ("value", 0)),
        (decode.simulation, SIMULATION, ("value",)),
        (transaction, TRANSACTION, ("meta",)),
    ],
)
def test_an_answer_that_tells_no_error_tells_no_success(
    read: Read, document: dict[str, Any], place: tuple[object, ...]
) -> None:
    """Success is an `err` of null, not a missing one."""
    made = copy.deepcopy(document)
    inner: Any = made
    for step in place:
        inner = inner[step]
    del inner["err"]
    with pytest.raises(ValueError, match="err"):
        read(made)


@pytest.mark.parametrize(
    ("confirmations", "level"), [(None, Commitment.FINALIZED), (3, Commitment.PROCESSED)]
)
def test_a_node_that_names_no_level_is_read_cautiously(
    confirmations: int | None, level: Commitment
) -> None:
    """Older nodes tell finality only by counting no more."""
    status = {"slot": 70, "confirmations": confirmations, "err": "e"}
    found = decode.statuses({"context": CONTEXT, "value": [status]}, 1)
    assert found == [Seen(70, level, "e", 77)]


def test_what_a_node_may_leave_out_is_taken_as_nothing() -> None:
    """Logs, units, lookup tables and token balances."""
    simulated = decode.simulation({"context": CONTEXT, "value": {"err": None, "logs": None}})
    assert simulated == Simulation(None, (), 0, 77)
    bare = copy.deepcopy(TRANSACTION)
    for name in ("logMessages", "loadedAddresses", "preTokenBalances", "postTokenBalances"):
        del bare["meta"][name]
    bare["transaction"]["message"]["accountKeys"] = ["a", "b", "c"]
    landed = decode.transaction(bare, "signature")
    assert landed.logs == ()
    assert landed.account_keys == ("a", "b", "c")
    assert landed.tokens_after == {}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


def places(document: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """List every place of a document."""
    items: list[tuple[object, object]] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    found: list[tuple[object, ...]] = []
    for key, value in items:
        found += [(*path, key), *places(value, (*path, key))]
    return found


@given(data=st.data())
def test_whatever_stands_anywhere_only_refuses(data: st.DataObject) -> None:
    """No other error than the one that callers expect."""
    _, read, document, _ = data.draw(st.sampled_from(SOUND))
    path = data.draw(st.sampled_from(places(document)))
    try:
        read(changed(document, path, data.draw(ANY)))
    except ValueError:
        return

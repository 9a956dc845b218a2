"""A transaction is what its signatures prove and enough endpoints agree on; no single node's word."""

import base64
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageHeader, MessageV0
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.domain.errors import TransientError
from app.solana.found import read_found, read_signers
from tests.solana.chains import DEAD, DOWN, chain_of
from tests.solana.test_ledger import ledger_of

pytestmark = pytest.mark.anyio
PAYER = Keypair()
RAW = bytes(
    VersionedTransaction(MessageV0.try_compile(PAYER.pubkey(), [], [], Hash.default()), [PAYER])
)
SIGNATURE = str(VersionedTransaction.from_bytes(RAW).signatures[0])
MINT = {"accountIndex": 0, "mint": "m", "uiTokenAmount": {"amount": "7"}}


def shown(raw: bytes = RAW, slot: int = 70, **meta: object) -> dict[str, Any]:
    """Answer getTransaction."""
    told = {"err": None, "fee": 5_000, "preBalances": [9], "postBalances": [4], **meta}
    return {"slot": slot, "transaction": [base64.b64encode(raw).decode(), "base64"], "meta": told}


def showing(*args: Any, **meta: Any) -> dict[str, Any]:
    """Make a node that shows it."""
    return {**DEAD, "getTransaction": shown(*args, **meta)}


def forged() -> bytes:
    """Keep the signature and change what was signed."""
    raw = bytearray(RAW)
    raw[-10] ^= 1
    assert str(VersionedTransaction.from_bytes(bytes(raw)).signatures[0]) == SIGNATURE
    return bytes(raw)


def unsigned() -> bytes:
    """Carry the signature over a message that nobody had to sign."""
    empty = MessageV0(MessageHeader(0, 0, 0), [], Hash.default(), [], [])
    return bytes(VersionedTransaction.populate(empty, [Signature.from_string(SIGNATURE)]))


LIES = [forged(), unsigned(), RAW + b"\0", RAW[:-1], b""]


@pytest.mark.parametrize("raw", LIES, ids=["forged", "unsigned", "longer", "shorter", "empty"])
def test_bytes_that_do_not_bear_their_signatures_are_none(raw: bytes) -> None:
    """Whatever the node says, and the true bytes pass."""
    for read in (read_found, read_signers):
        with pytest.raises((ValueError, IndexError)):
            read(shown(raw), SIGNATURE)
    assert read_found(shown(), SIGNATURE).raw == RAW
    assert read_signers(shown(), SIGNATURE) == [str(PAYER.pubkey())]


async def test_forged_bytes_of_one_node_hide_nothing() -> None:
    """The honest one is heard, whichever comes first; alone, the forger is no answer."""
    for nodes in ([showing(forged()), showing()], [showing(), showing(forged())]):
        async with chain_of(*nodes) as (chain, _):
            assert (await chain.histories.found(SIGNATURE)).raw == RAW
    async with chain_of(showing(forged())) as (chain, _):
        with pytest.raises(TransientError, match="wrong shape"):
            await chain.histories.found(SIGNATURE)


@pytest.mark.parametrize(
    "lie",
    [
        showing(RAW, 71),
        showing(err={"x": 1}),
        showing(postBalances=[3]),
        {**DEAD, "getTransaction": {**shown(), "blockTime": 5}},
        showing(preTokenBalances=[MINT]),
    ],
    ids=["slot", "error", "lamports", "time", "mints"],
)
async def test_what_bytes_cannot_prove_needs_as_many_as_a_proof(lie: dict[str, Any]) -> None:
    """Slot, success, amounts, time and mints: two tell the same, or nothing is read."""
    for nodes, needed in (([showing(), lie], 1), ([showing(), lie], 2), ([showing(), DOWN], 2)):
        async with chain_of(*nodes, proof_endpoints=needed) as (chain, _):
            with pytest.raises(TransientError):
                await chain.histories.found(SIGNATURE)
    async with chain_of(lie, showing(), showing(), proof_endpoints=2) as (chain, _):
        assert (await chain.histories.found(SIGNATURE)).landed.slot == 70


async def test_logs_and_words_of_an_error_may_differ() -> None:
    """Nodes cut logs as they are configured."""
    one = showing(err={"x": 1}, logMessages=["a", "b"])
    other = showing(err={"y": 1}, logMessages=["Log truncated"])
    async with chain_of(one, other, proof_endpoints=2) as (chain, _):
        assert (await chain.histories.found(SIGNATURE)).landed.error is not None


async def test_who_signed_is_known_from_any_node_that_has_it() -> None:
    """A forger neither makes a wallet sign nor takes its signature away."""
    async with ledger_of(showing(forged()), DOWN, showing(), needed=2) as (ledger, _):
        assert await ledger.signed_by(SIGNATURE, str(PAYER.pubkey())) is True
        assert await ledger.signed_by(SIGNATURE, str(Keypair().pubkey())) is False
    async with ledger_of(showing(forged())) as (ledger, _):
        assert not isinstance(await ledger.signed_by(SIGNATURE, str(PAYER.pubkey())), bool)


@pytest.mark.parametrize(("amount", "sound"), [(2**64 - 1, True), (2**64, False)])
def test_anybody_may_hold_as_much_of_a_token_as_there_can_be(amount: int, *, sound: bool) -> None:
    """An account of a stranger's own token is no reason to read nothing."""
    rows = [{**MINT, "uiTokenAmount": {"amount": str(amount)}}]
    told = shown(preTokenBalances=rows, postTokenBalances=rows)
    if not sound:
        with pytest.raises(ValueError, match="not a whole number"):
            read_found(told, SIGNATURE)
        return
    assert read_found(told, SIGNATURE).landed.signature == SIGNATURE

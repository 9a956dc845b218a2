"""The layouts are those of accounts that Raydium's own binary has traded on."""

import base64
from typing import Any

import pytest
from solders.pubkey import Pubkey

from app.sandbox.layouts import (
    AmmConfig,
    PoolState,
    authority_address,
    config_address,
    encode_observations,
    encode_token_account,
    rent_exempt,
    token_amount,
    trade_fee_rate,
)
from tests.sandbox.bench import load

STATES = ["cp_deep", "cp_creator_0", "cp_creator_2", "cp_swap_disabled", "cp_not_open"]


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> Any:
    """Read a state that the real program ran on."""
    return load(f"state_{request.param}.json")


def data_of(state: Any, address: Pubkey | str) -> bytes:
    """Read an account of a recorded state."""
    return base64.b64decode(state["accounts"][str(address)]["data_base64"])


def pool_of(state: Any) -> PoolState:
    """Decode a recorded state's pool."""
    return PoolState.decode(data_of(state, state["pool"]))


def test_a_pool_is_read_and_written_to_the_byte(state: Any) -> None:
    """Decoding and encoding a recorded pool gives its bytes again."""
    assert pool_of(state).encode() == data_of(state, state["pool"])


def test_a_history_is_written_as_recorded(state: Any) -> None:
    """An empty price history has the recorded bytes."""
    history = encode_observations(Pubkey.from_string(state["pool"]), 0)
    assert history == data_of(state, pool_of(state).observation)


def test_a_tier_is_written_as_recorded(state: Any) -> None:
    """A fee tier with the recorded figures has the recorded bytes."""
    recorded = data_of(state, pool_of(state).config)
    tier = AmmConfig(
        index=0,
        bump=255,
        trade_fee_rate=2_500,
        protocol_fee_rate=120_000,
        fund_fee_rate=40_000,
        creator_fee_rate=int.from_bytes(recorded[108:116], "little"),
        create_pool_fee=0,
        owner=Pubkey.default(),
    )
    assert tier.encode() == recorded
    assert trade_fee_rate(recorded) == 2_500


def test_a_vault_is_written_as_recorded(state: Any) -> None:
    """Vaults, that of wrapped SOL too, have the recorded bytes, and its lamports add up."""
    pool = pool_of(state)
    for vault, mint in zip(pool.vaults, pool.mints, strict=True):
        recorded = data_of(state, vault)
        owner = Pubkey.from_bytes(recorded[32:64])
        assert encode_token_account(mint, owner, token_amount(recorded)) == recorded
    lamports = state["accounts"][str(pool.vaults[0])]["lamports"]
    assert lamports == rent_exempt(165) + token_amount(data_of(state, pool.vaults[0]))


def test_the_fixed_addresses_are_raydiums() -> None:
    """The vaults' owner and the first tier stand where they stand on mainnet."""
    assert str(authority_address()[0]) == "GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL"
    assert str(config_address(0)) == "D4FPEruKEHrG5TenZ2mpDGEfu1iUvTiqBxvpU8HLBvC2"


@pytest.mark.parametrize("data", [b"", bytes(637), bytes(8)])
def test_what_is_no_pool_is_refused(data: bytes) -> None:
    """Bytes of another type or length raise ValueError."""
    with pytest.raises(ValueError, match="PoolState"):
        PoolState.decode(data)

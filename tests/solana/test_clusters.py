"""The hashes that name the public clusters."""

from solders.hash import Hash

from app.solana.clusters import KNOWN_GENESIS


def test_every_public_cluster_has_a_hash_of_its_own() -> None:
    """Each is a hash, and none is written down twice."""
    assert {str(Hash.from_string(each)) for each in KNOWN_GENESIS.values()} == set(
        KNOWN_GENESIS.values()
    )
    assert len(set(KNOWN_GENESIS.values())) == len(KNOWN_GENESIS)
    assert set(KNOWN_GENESIS) == {"mainnet", "devnet", "testnet"}

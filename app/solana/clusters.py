"""The public clusters by the hash of their genesis block."""

from collections.abc import Mapping
from typing import Final

KNOWN_GENESIS: Final[Mapping[str, str]] = {
    "mainnet": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    "devnet": "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG",
    "testnet": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY",
}
"""Genesis hash by network; source: Agave's `GenesisConfig` cluster types, as getGenesisHash tells them."""

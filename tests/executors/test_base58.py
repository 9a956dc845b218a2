"""Base58 of any bytes, held against another writing of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature

from app.executors.base58 import base58


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"\0\0\1", "112"),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    ],
)
def test_known_values(raw: bytes, text: str) -> None:
    """From the draft that describes it; leading zeros are kept."""
    assert base58(raw) == text


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_addresses_and_signatures_are_written_as_ever(address: bytes, signature: bytes) -> None:
    """Byte for byte as the cluster's own library writes them."""
    assert base58(address) == str(Pubkey.from_bytes(address))
    assert base58(signature) == str(Signature.from_bytes(signature))

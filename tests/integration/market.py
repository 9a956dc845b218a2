"""Another trader on the chain: trades that move a price while an order is on its way."""

from base64 import b64encode

from solders.hash import Hash
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from app.sandbox.genesis import pool_address
from app.sandbox.layouts import (
    BONK_MINT,
    USDC_MINT,
    PoolState,
    Swap,
    associated_token_address,
)
from tests.integration.chain import Chain


def buy_bonk(chain: Chain, usdc: int) -> str:
    """Spend whole USDC on BONK at once, past every bound; gives the signature."""
    key = chain.key
    address = pool_address(BONK_MINT, USDC_MINT)
    pool = PoolState.decode(chain.account(str(address)))
    swap = Swap(
        pool_address=address,
        pool=pool,
        side=pool.mints.index(USDC_MINT),
        payer=key.pubkey(),
        source=associated_token_address(key.pubkey(), USDC_MINT),
        destination=associated_token_address(key.pubkey(), BONK_MINT),
    )
    latest = chain.rpc("getLatestBlockhash", {"commitment": "confirmed"})["value"]["blockhash"]
    instructions = [swap.exact_in(usdc * 10**6, 0)]
    message = MessageV0.try_compile(key.pubkey(), instructions, [], Hash.from_string(latest))
    raw = b64encode(bytes(VersionedTransaction(message, [key]))).decode()
    return str(chain.rpc("sendTransaction", raw, {"encoding": "base64", "skipPreflight": True}))

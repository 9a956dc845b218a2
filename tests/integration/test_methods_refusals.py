"""Methods that could not work, or with which money could be lost: a start with them is refused by name."""

from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from app.domain.errors import StartupError
from app.solana.clusters import KNOWN_GENESIS
from tests.integration.chain import Chain
from tests.integration.kit import configure, endpoint, running, status
from tests.integration.methods import METHODS

pytestmark = pytest.mark.anyio
SECRET = "not-to-be-shown"
MISTYPED_TIP_ACCOUNT = "ADuUkR4vqLUMWXxW9gh6D6L8pivKeVBBjNcDgz3EyLkk"
"""Like one of Jito's in its first letters; it stands in public code, and what it is sent is lost."""
HERE = "http://127.0.0.1:1"
MUCH = 10_000_000
"""Micro-lamports a unit: ten times what the shipped configuration bids at most."""


async def refused(folder: Path, chain: Chain | None, changes: dict[str, object]) -> str:
    """Claim that a start is refused in one line without a secret; gives the line."""
    with pytest.raises(StartupError) as caught:
        async with ExecutionSystem(configure(folder, chain, changes)):
            pass
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line
    return line


@pytest.mark.parametrize("method", ["bundle", "jito", "quicknode"])
async def test_a_method_without_a_place(tmp_path: Path, chain: Chain, method: str) -> None:
    """In front of a node that says nothing of a block engine or a QuickNode endpoint."""
    away = {**endpoint(chain), "solana.rpc_urls": [HERE]}
    line = await refused(tmp_path, None, {**away, "methods.order": ["rpc", method]})
    section = "quicknode" if method == "quicknode" else "block_engine"
    assert line.startswith("METHOD_NOT_CONFIGURED: ")
    assert method in line
    assert section in line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {
                "methods.order": ["scout"],
                "methods.senders.scout": {"preset": "nozomi", "url": HERE},
            },
            "METHOD_NOT_CONFIGURED: methods.senders.scout.api_key ",
        ),
        ({"methods.senders.rpc": {"preset": "helius", "url": HERE}}, "METHOD_DUPLICATE: "),
        ({"methods.patience": {"pigeon": 1}}, "CONFIG_UNKNOWN: methods.patience.pigeon "),
        (
            {"methods.block_engine.tip_accounts": [MISTYPED_TIP_ACCOUNT]},
            f"TIP_ACCOUNT_UNKNOWN: {MISTYPED_TIP_ACCOUNT} ",
        ),
        ({"methods.block_engine.regions": ["atlantis"]}, "REGION_UNKNOWN: "),
        ({"methods.quicknode.fastlane.enabled": True}, "METHOD_NOT_CONFIGURED: methods.quicknode."),
        (
            {
                "methods.quicknode.lil_jit.enabled": True,
                "methods.quicknode.fastlane": {"enabled": True, "tip_accounts": ["1" * 32]},
                "fees.priority.cap_micro_lamports": MUCH,
            },
            "QUICKNODE_OPTIONS: ",
        ),
        (
            {
                "methods.quicknode.fastlane": {
                    "enabled": True,
                    "tip_accounts": ["1" * 32],
                    "min_unit_price_micro_lamports": MUCH,
                }
            },
            f"METHODS_TOO_DEAR: a method demands {MUCH} micro-lamports",
        ),
        (
            {"fees.tip.floor_lamports": 2_000, "fees.tip.cap_lamports": 1_000},
            "CONFIG_INVALID: fees.tip.floor_lamports ",
        ),
    ],
)
async def test_a_mistake_about_methods(
    tmp_path: Path, chain: Chain, changes: dict[str, object], line: str
) -> None:
    """The line begins with its code, and names what is wrong."""
    assert (await refused(tmp_path, chain, changes)).startswith(line)


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("methods.block_engine.uuid", "SYNERGY7_METHODS__BLOCK_ENGINE__UUID"),
        ("methods.quicknode.token", "SYNERGY7_METHODS__QUICKNODE__TOKEN"),
        ("methods.senders.scout.api_key", "SYNERGY7_METHODS__SENDERS__SCOUT__API_KEY"),
    ],
)
async def test_a_secret_in_the_file(tmp_path: Path, chain: Chain, key: str, variable: str) -> None:
    """It belongs into the environment, whether the method is used or not; it is not shown."""
    line = await refused(tmp_path, chain, {key: SECRET})
    assert line.startswith("CONFIG_SECRET: ")
    assert key in line
    assert line.endswith(f"set {variable} instead")


@pytest.mark.parametrize(
    "changes",
    [
        {"methods.rpc.urls": [f"https://rpc.example/{SECRET}"]},
        {"methods.block_engine.urls": ["https://mainnet.block-engine.jito.wtf"]},
        {"methods.block_engine.regions": ["ny"]},
        {"methods.quicknode.url": f"https://mine.quiknode.pro/{SECRET}"},
        {
            "methods.order": ["rpc", "scout"],
            "methods.senders.scout": {"preset": "helius", "url": f"https://scout.example/{SECRET}"},
        },
    ],
)
async def test_an_address_elsewhere(
    tmp_path: Path, chain: Chain, changes: dict[str, object]
) -> None:
    """Bytes signed for the sandbox stay on this machine while no keys guard the service."""
    line = await refused(tmp_path, chain, changes)
    assert line.startswith("NO_API_KEYS: methods.")


@pytest.mark.parametrize("network", KNOWN_GENESIS)
async def test_a_node_of_a_public_cluster(tmp_path: Path, chain: Chain, network: str) -> None:
    """Whatever the settings say: a chain with that genesis hash is not the sandbox's."""
    said = {"jsonrpc": "2.0", "id": 1, "result": KNOWN_GENESIS[network]}
    chain.fault("answer", "getGenesisHash", body=said)
    line = await refused(tmp_path, None, endpoint(chain))
    assert line.startswith("CHAIN_OTHER_NETWORK: ")
    assert network in line


async def test_a_block_engine_is_known_by_the_second_node_too(tmp_path: Path, chain: Chain) -> None:
    """The first node is away: what the sandbox stands in for is asked of the next."""
    urls = ["http://localhost:1", chain.rpc_url]
    async with running(tmp_path, None, {**endpoint(chain), "solana.rpc_urls": urls}) as system:
        assert [state["name"] for state in status(system)["methods"]] == list(METHODS)

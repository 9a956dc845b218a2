"""Without API keys only this machine and only the sandbox."""

import pytest

from app.bootstrap.access import is_loopback, refuse_unguarded
from app.domain.errors import StartupError
from app.settings import Server, Settings, Solana

HERE = ["localhost", "127.0.0.1", "127.9.9.9", "::1"]
ELSEWHERE = ["", "0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "example.org", "localhost.example.org"]


@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_open(host: str) -> None:
    """Every way to name this machine is taken."""
    assert is_loopback(host)
    refuse_unguarded(Settings(server=Server(host=host)))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_host_that_others_reach_is_refused(host: str) -> None:
    """Whoever could reach the port could trade."""
    assert not is_loopback(host)
    with pytest.raises(StartupError, match=r"^NO_API_KEYS: server.host "):
        refuse_unguarded(Settings(server=Server(host=host)))


@pytest.mark.parametrize("network", ["devnet", "mainnet"])
def test_another_network_is_refused_by_name(network: str) -> None:
    """Only play money may be traded by whoever asks."""
    with pytest.raises(StartupError, match=f"^NO_API_KEYS: network is {network} "):
        refuse_unguarded(Settings.model_validate({"network": network}))


@pytest.mark.parametrize("url", ["http://10.1.1.1:8899", "https://rpc.example.org/key", "http://["])
def test_a_node_on_another_machine_is_refused(url: str) -> None:
    """It may serve a chain with real money, whatever the network is called here; no key is shown."""
    with pytest.raises(StartupError, match=r"^NO_API_KEYS: solana.rpc_urls ") as refused:
        refuse_unguarded(Settings(solana=Solana.model_validate({"rpc_urls": [url]})))
    assert "key" not in str(refused.value).replace("API keys", "")


def test_a_node_on_this_machine_is_taken() -> None:
    """A sandbox or another local node that was started elsewhere."""
    urls = [f"http://{host}:8899" for host in ("localhost", "127.0.0.1", "[::1]")]
    refuse_unguarded(Settings(solana=Solana.model_validate({"rpc_urls": urls})))

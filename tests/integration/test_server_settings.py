"""`server.host` and `server.port`: where the service listens, and where it does not."""

import socket
import sys
from pathlib import Path

import httpx
import pytest

from tests.harness import Service, free_port

pytestmark = pytest.mark.e2e
FAST = {"SYNERGY7_SANDBOX__SLOT_MS": "50"}


def listens(host: str, port: int) -> bool:
    """Tell whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_host_and_port(tmp_path: Path) -> None:
    """It answers at the configured address, at no other, and says which one it is."""
    port = free_port()
    service = Service(tmp_path, {**FAST, "SYNERGY7_SERVER__HOST": "127.0.0.2"}, port=port)
    service.http = httpx.Client(base_url=f"http://127.0.0.2:{port}", trust_env=False, timeout=10)
    with service:
        assert service.http.get("/healthz").json() == {"alive": True}
        assert not listens("127.0.0.1", port)
        assert f"http://127.0.0.2:{port}" in service.output()

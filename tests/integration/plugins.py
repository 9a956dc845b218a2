"""Submission methods installed as packages of others would be: found by the entry-point group."""

import importlib
from pathlib import Path

import pytest

PRIVATE_METHOD = '''
"""A private method that knows nobody: it never sends anything."""

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds


class Veil:
    name = "veil"
    privacy = Privacy.PRIVATE
    needs = TipNeeds()

    def hindrance(self, *, again=False):
        return None

    def state(self):
        return {"name": self.name, "privacy": "private", "breaker": "closed"}

    def reset(self):
        pass

    def claim(self, signature):
        return None

    async def submit(self, attempt, deadline, may):
        return Reply(ReplyOutcome.NOT_SENT, "transport")


def make(context):
    return Veil()
'''

SIEVE_METHOD = '''
"""Says that it has accepted the bytes of every first attempt, and drops them."""

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.method import Method, Target
from app.executors.rpc import send


async def push(client, attempt, seconds):
    if attempt.number == 1:
        return Reply(ReplyOutcome.ACCEPTED, "ok")
    return await send(client, attempt, seconds)


def make(context):
    limiter = context.limiter("sieve", 1_000)
    targets = [Target(client, limiter) for client in context.rpc_clients]
    return Method(context.name, push, targets, context.gate)
'''


def install(folder: Path, method: str, source: str) -> Path:
    """Lay a package out that offers a method; gives the folder to be put on the import path."""
    site = folder / f"site_{method}"
    info = site / f"synergy7_{method}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: synergy7-{method}\nVersion: 1.0\n"
    )
    points = f"[synergy7.executors]\n{method} = synergy7_{method}:make\n"
    (info / "entry_points.txt").write_text(points)
    (site / f"synergy7_{method}.py").write_text(source)
    return site


def install_here(folder: Path, method: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer a method to this process."""
    monkeypatch.syspath_prepend(str(install(folder, method, source)))
    importlib.invalidate_caches()

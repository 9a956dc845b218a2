"""What is read before anything is executed."""

import pytest

from app.bootstrap.wiring import read_first
from app.domain.errors import IntakeError, ReasonCode, StartupError

pytestmark = pytest.mark.anyio


class Reads:
    """Identifies and loads, or finds the database away."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self._trouble = trouble
        self.read = 0

    async def _read(self) -> bool:
        if self._trouble is not None:
            raise self._trouble
        self.read += 1
        return True

    identify = _read

    async def load(self) -> None:
        """Load the switches."""
        await self._read()


@pytest.mark.parametrize("away", ["chain", "switches"])
async def test_a_database_that_goes_away_meanwhile_is_a_start_that_fails(away: str) -> None:
    """In one line as any other: which methods are switched off has to be known before a push."""
    error = IntakeError(ReasonCode.DATABASE_BUSY, "the database is locked", todo="try again")
    trouble, sound = Reads(error), Reads()
    parts = (trouble, sound) if away == "chain" else (sound, trouble)
    with pytest.raises(StartupError) as caught:
        await read_first(*parts)
    assert str(caught.value) == "DATABASE_UNREACHABLE: the database is locked; try again"


async def test_other_troubles_are_told_as_they_are() -> None:
    """A wrong chain has a code of its own."""
    other = StartupError("CHAIN_OTHER_NETWORK", "another chain", "correct network")
    with pytest.raises(StartupError, match=r"^CHAIN_OTHER_NETWORK: "):
        await read_first(Reads(other), Reads())
    sound = Reads()
    await read_first(sound, sound)
    assert sound.read == 2

"""A deliberate breakage of the code: one small edit, the promise it breaks, the tests that must see it."""

from dataclasses import dataclass
from pathlib import Path


class OutdatedError(AssertionError):
    """The code does not read as a breakage says: the list is to be brought up to date."""


@dataclass(frozen=True, kw_only=True)
class Breakage:
    """An edit of one file: `old` stands in it exactly once and becomes `new`."""

    name: str
    """What goes wrong, as a few words; unique."""
    promise: str
    """What the service promises and would not keep."""
    file: str
    """Below app/."""
    old: str
    new: str
    tests: tuple[str, ...]
    """Node ids below tests/; every one of them must fail."""

    def broken(self, source: str) -> str:
        """Give the file's text with the edit; raises OutdatedError when it does not fit."""
        found = source.count(self.old)
        if found != 1:
            raise OutdatedError(f"{self.name}: app/{self.file} has {found} times {self.old!r}")
        return source.replace(self.old, self.new)

    def read(self, app: Path) -> str:
        """Read the file as it is."""
        return (app / self.file).read_text()

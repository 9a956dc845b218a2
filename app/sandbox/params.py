"""The parameters of a JSON-RPC call, read strictly; what does not fit raises RpcError -32602."""

from typing import Literal, TypeGuard

from solders.pubkey import Pubkey
from solders.signature import Signature

from app.sandbox.blocks import Commitment
from app.sandbox.errors import invalid

_U64_MAX = 2**64 - 1


class Config:
    """The configuration object that most methods take last."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def commitment(self, default: Commitment = "finalized", key: str = "commitment") -> Commitment:
        """Read the commitment."""
        value = self._values.get(key)
        if value is None:
            return default
        if not _is_commitment(value):
            raise invalid(
                f"Invalid params: unknown variant `{value}`, "
                "expected one of `processed`, `confirmed`, `finalized`."
            )
        return value

    def settled(self) -> Commitment:
        """Read the commitment of a method that knows only what is confirmed."""
        commitment = self.commitment()
        if commitment == "processed":
            raise invalid("Method does not support commitment below `confirmed`")
        return commitment

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Read one of several words."""
        value = self._values.get(key)
        if value is None:
            return default
        if value not in choices:
            expected = ", ".join(f"`{each}`" for each in choices)
            raise invalid(f"Invalid params: unknown variant `{value}`, expected one of {expected}.")
        return str(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Read a boolean."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a boolean.")
        return value

    def number(self, key: str) -> int | None:
        """Read an unsigned integer."""
        value = self._values.get(key)
        return None if value is None else _unsigned(value)

    def digits(self, key: str) -> int | None:
        """Read an unsigned integer, which may be written as a string."""
        value = self._values.get(key)
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        return self.number(key)

    def text(self, key: str) -> str | None:
        """Read a string."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
        return value

    def object(self, key: str) -> "Config | None":
        """Read an inner object."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected an object.")
        return Config(value)

    def objects(self, key: str) -> list["Config | None"]:
        """Read a list of objects, some of which may be null."""
        values = self._values.get(key)
        if not isinstance(values, list):
            raise invalid(f"Invalid params: invalid type: {_kind(values)}, expected a list.")
        if not all(each is None or isinstance(each, dict) for each in values):
            raise invalid("Invalid params: expected a list of objects.")
        return [None if each is None else Config(each) for each in values]

    def texts(self, key: str) -> list[str]:
        """Read a list of strings."""
        return _texts(self._values.get(key, []))

    def window(self) -> tuple[int, int] | None:
        """Read `dataSlice` as (offset, length) in bytes."""
        inner = self.object("dataSlice")
        if inner is None:
            return None
        offset, length = inner.number("offset"), inner.number("length")
        if offset is None or length is None:
            raise invalid("Invalid params: missing field `offset` or `length`.")
        return offset, length


class Params:
    """The positional parameters."""

    def __init__(self, values: object) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise invalid("Invalid params: `params` should be an array")
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def raw(self, index: int) -> object:
        """Give a parameter as it came."""
        return self._need(index)

    def text(self, index: int) -> str:
        """Read a string."""
        value = self._need(index)
        if not isinstance(value, str):
            raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
        return value

    def number(self, index: int) -> int:
        """Read an unsigned integer."""
        return _unsigned(self._need(index))

    def texts(self, index: int) -> list[str]:
        """Read a list of strings; absent is empty."""
        return _texts(self._values[index] if len(self) > index else [])

    def pubkey(self, index: int) -> Pubkey:
        """Read an address."""
        return as_pubkey(self.text(index))

    def config(self, index: int) -> Config:
        """Read the configuration object; absent is empty."""
        value = self._values[index] if len(self) > index else None
        if value is None:
            return Config({})
        if not isinstance(value, dict):
            raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected an object.")
        return Config(value)

    def _need(self, index: int) -> object:
        if len(self) <= index:
            raise invalid(f"`params` should have at least {index + 1} argument(s)")
        return self._values[index]


def as_pubkey(text: str) -> Pubkey:
    """Parse an address."""
    try:
        return Pubkey.from_string(text)
    except ValueError as error:
        raise invalid(f"Invalid param: {error}") from error


def as_signature(text: str) -> str:
    """Check a signature, and give it as it is written."""
    try:
        return str(Signature.from_string(text))
    except ValueError as error:
        raise invalid(f"Invalid param: {error}") from error


def _is_commitment(value: object) -> TypeGuard[Literal["processed", "confirmed", "finalized"]]:
    return value in ("processed", "confirmed", "finalized")


def _unsigned(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _U64_MAX:
        raise invalid(f"Invalid params: invalid value: {_kind(value)}, expected u64.")
    return value


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise invalid(f"Invalid params: invalid type: {_kind(values)}, expected a list of strings.")
    return values


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "floating point", str: "string", dict: "map"}
    return "null" if value is None else names.get(type(value), "sequence")

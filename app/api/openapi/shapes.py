"""The small shapes that the document is made of."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from app.domain.signal import TEXT_LENGTH_MAX, UNPRINTABLE

Schema = dict[str, Any]

NULL: Final[Schema] = {"type": "null"}
PRINTABLE: Final = rf"^[^{UNPRINTABLE}]+$"
DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?$"
TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"


def ref(name: str) -> Schema:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def enum(kind: type[StrEnum]) -> Schema:
    """Name the members of an enumeration."""
    return {"type": "string", "enum": [member.value for member in kind]}


def one_of_names(names: Iterable[str] | None) -> Schema:
    """Name the configured ones, or allow any name where none are known."""
    if names is None:
        return text()
    return {"type": "string", "enum": list(names)}


def text() -> Schema:
    """Describe a key or label."""
    return {"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH_MAX, "pattern": PRINTABLE}


def decimal() -> Schema:
    """Describe an exact number as it is given out."""
    return {"type": "string", "pattern": DECIMAL, "examples": ["0.01"]}


def time() -> Schema:
    """Describe a time as it is given out."""
    return {"type": "string", "format": "date-time", "pattern": TIME}


def whole() -> Schema:
    """Describe a count, a slot, a height."""
    return {"type": "integer", "minimum": 0}


def string() -> Schema:
    """Describe any text."""
    return {"type": "string"}


def order_id() -> Schema:
    """Describe an order's id."""
    pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    return {"type": "string", "format": "uuid", "pattern": pattern}


def nullable(schema: Schema) -> Schema:
    """Allow null too."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, NULL]}


def array(items: Schema) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": items}


def closed(properties: Mapping[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """Describe an object with exactly these properties, all but the optional always there."""
    left_out = set(optional)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
    }


def described(schema: Schema, description: str) -> Schema:
    """Say what a value is."""
    return {**schema, "description": description}

"""Rules of scripted trouble: which calls a rule hits, how often, and how it is read from JSON."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from app.sandbox.render import Json

ENDPOINTS = ("rpc", "jito", "quicknode")
ANY_MORE = "*"  # a path that ends so stands for all that begin like it
FIELDS = frozenset(
    {
        "kind",
        "endpoint",
        "rpc_method",
        "path",
        "count",
        "seconds",
        "retry_after",
        "status",
        "body",
        "slots",
        "slot",
        "blocks",
        "times",
        "probability",
        "seed",
    }
)


class BadRule(Exception):
    """A rule that means nothing; the text says why."""


@dataclass(slots=True)
class Rule:
    """Trouble to come. `remaining` is None for as long as nobody deletes it."""

    id: int
    kind: str
    endpoint: str | None
    rpc_method: str | None
    path: str | None
    remaining: int | None
    seconds: float | None
    retry_after: float | None
    status: int | None
    body: object
    slots: int
    slot: int | None
    times: float
    probability: float
    random: Random
    hits: int = 0

    def strikes(self, endpoint: str, rpc_method: str, path: str) -> bool:
        """Decide whether this call is hit, and count it."""
        if self.remaining == 0 or self.rpc_method not in (None, rpc_method):
            return False
        if self.endpoint not in (None, endpoint) or not self._is_for(path):
            return False
        if self.random.random() >= self.probability:
            return False
        self.hits += 1
        if self.remaining is not None:
            self.remaining -= 1
        return True

    def document(self) -> Json:
        """Show the rule with what it has done."""
        hidden = ("random",)
        names = [name for name in self.__slots__ if name not in hidden]
        return {name: getattr(self, name) for name in names}

    def _is_for(self, path: str) -> bool:
        if self.path is not None and self.path.endswith(ANY_MORE):
            return path.startswith(self.path.removesuffix(ANY_MORE))
        return self.path in (None, path)


def checked(document: object, kinds: Collection[str]) -> Json:
    """Give a rule's document if it names only what is known; raises BadRule."""
    if not isinstance(document, dict):
        raise BadRule("a rule is an object")
    if document.get("kind") not in kinds:
        raise BadRule(f"unknown kind; known are {', '.join(sorted(kinds))}")
    unknown = sorted(document.keys() - FIELDS)
    if unknown:
        raise BadRule(f"unknown field; known are {', '.join(sorted(FIELDS))}")
    endpoint_of(document)
    return document


def read_rule(number: int, document: Json) -> Rule:
    """Read a checked document; raises BadRule."""
    endless = "count" in document and document["count"] is None
    return Rule(
        id=number,
        kind=str(document["kind"]),
        endpoint=endpoint_of(document),
        rpc_method=_text(document, "rpc_method"),
        path=_text(document, "path"),
        remaining=None if endless else int(number_of(document, "count", 1)),
        seconds=optional(document, "seconds"),
        retry_after=optional(document, "retry_after"),
        status=_whole(optional(document, "status")),
        body=document.get("body"),
        slots=int(number_of(document, "slots", 1)),
        slot=_whole(optional(document, "slot")),
        times=number_of(document, "times", 100),
        probability=number_of(document, "probability", 1),
        random=Random(int(number_of(document, "seed", 0))),  # noqa: S311 - repeatable on purpose
    )


def endpoint_of(document: Json) -> str | None:
    """Read the endpoint a rule is for; raises BadRule."""
    endpoint = _text(document, "endpoint")
    if endpoint not in (None, *ENDPOINTS):
        raise BadRule(f"unknown endpoint; known are {', '.join(ENDPOINTS)}")
    return endpoint


def number_of(document: Json, key: str, default: float) -> float:
    """Read a number; raises BadRule."""
    value = document.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadRule(f"{key} is a number, not below 0")
    return value


def optional(document: Json, key: str) -> float | None:
    """Read a number that may be absent; raises BadRule."""
    return None if document.get(key) is None else number_of(document, key, 0)


def _text(document: Json, key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRule(f"{key} is a text")
    return value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)

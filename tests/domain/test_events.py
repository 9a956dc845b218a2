"""The audit trail is a chain: whatever is changed in it is found."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.events import GENESIS_HASH, Event, EventKind, chain_hash, verify_chain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
SMALL = st.text(max_size=3)
DATA = st.dictionaries(SMALL, st.none() | st.integers() | SMALL, max_size=2)
EVENTS = st.builds(
    Event,
    order_id=SMALL,
    seq=st.integers(1, 100),
    at_us=st.integers(0, 2**62),
    kind=st.sampled_from(EventKind),
    data=DATA,
)


def seal(events: list[Event], previous: str = GENESIS_HASH, first: int = 1) -> list[Event]:
    """Chain events as the sealer does."""
    sealed: list[Event] = []
    for position, event in enumerate(events, start=first):
        previous = chain_hash(previous, position, event.digest())
        sealed.append(replace(event, position=position, hash=previous))
    return sealed


CHAINS = st.lists(EVENTS, min_size=1, max_size=4).map(seal)


@given(CHAINS)
def test_an_untouched_chain_holds(chain: list[Event]) -> None:
    """Nothing is found where nothing was done; an empty chain holds too."""
    assert verify_chain(chain) is None
    assert verify_chain([]) is None


@given(CHAINS, st.data())
def test_a_chain_holds_from_any_point_on(chain: list[Event], data: st.DataObject) -> None:
    """With the hash before it, a later part is verified alone, e.g. from a checkpoint."""
    start = data.draw(st.integers(0, len(chain) - 1))
    previous = chain[start - 1].hash if start else GENESIS_HASH
    assert previous is not None
    assert verify_chain(chain[start:], previous) is None


Edit = Callable[[Event, st.DataObject], Event]
EDITS: dict[str, Edit] = {
    "order_id": lambda event, _: replace(event, order_id=event.order_id + "0"),
    "seq": lambda event, _: replace(event, seq=event.seq + 1),
    "at_us": lambda event, _: replace(event, at_us=event.at_us + 1),
    "kind": lambda event, data: replace(event, kind=data.draw(st.sampled_from(EventKind))),
    "data": lambda event, data: replace(event, data=data.draw(DATA)),
    "hash": lambda event, _: replace(event, hash=GENESIS_HASH),
    "no hash": lambda event, _: replace(event, hash=None),
    "position": lambda event, _: replace(event, position=(event.position or 0) + 1),
    "no position": lambda event, _: replace(event, position=None),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@given(CHAINS, st.data())
def test_a_changed_event_is_found(edit: Edit, chain: list[Event], data: st.DataObject) -> None:
    """Whichever field of whichever event is another than it was, its place is named."""
    index = data.draw(st.integers(0, len(chain) - 1))
    changed = edit(chain[index], data)
    assume(changed != chain[index])
    found = verify_chain([*chain[:index], changed, *chain[index + 1 :]])
    assert found == (changed.position or 0)


@given(CHAINS, st.data())
def test_a_removed_event_is_found(chain: list[Event], data: st.DataObject) -> None:
    """Any event but the last leaves a gap that the one behind it shows."""
    assume(len(chain) > 1)
    index = data.draw(st.integers(0, len(chain) - 2))
    assert verify_chain(chain[:index] + chain[index + 1 :]) == index + 2


@given(CHAINS, EVENTS, st.data())
def test_an_inserted_event_is_found(chain: list[Event], new: Event, data: st.DataObject) -> None:
    """Even one sealed with the right hash before it pushes the next out of its place."""
    index = data.draw(st.integers(0, len(chain) - 1))
    previous = chain[index - 1].hash if index else GENESIS_HASH
    assert previous is not None
    assume(new.digest() != chain[index].digest())
    forged = seal([new], previous, index + 1)
    assert verify_chain([*chain[:index], *forged, *chain[index:]]) == index + 1


@given(CHAINS, st.data())
def test_swapped_events_are_found(chain: list[Event], data: st.DataObject) -> None:
    """The order in which things happened is part of what is sealed."""
    assume(len(chain) > 1)
    index = data.draw(st.integers(0, len(chain) - 2))
    swapped = [*chain[:index], chain[index + 1], chain[index], *chain[index + 2 :]]
    assert verify_chain(swapped) == index + 2


@given(CHAINS)
def test_a_gap_is_found_though_every_hash_is_right(chain: list[Event]) -> None:
    """Positions are gapless: a sealer that skips one is caught by the next event."""
    last = chain[-1]
    assert last.position is not None
    assert last.hash is not None
    skipped = seal([replace(last, seq=last.seq + 1)], last.hash, last.position + 2)
    assert verify_chain([*chain, *skipped]) == last.position + 2


def test_the_hash_is_published_and_can_be_recomputed() -> None:
    """SHA-256 of ASCII JSON with sorted keys, then of the previous hash, position and digest."""
    event = Event(
        order_id="id", seq=1, at_us=7, kind=EventKind.ACCEPTED, data={"b": "ü", "a": None}
    )
    text = r'["id",1,7,"order.accepted",{"a":null,"b":"\u00fc"}]'
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert event.digest() == digest
    chained = hashlib.sha256(f"{GENESIS_HASH}:1:{digest}".encode()).hexdigest()
    assert chain_hash(GENESIS_HASH, 1, digest) == chained


@given(EVENTS, st.dictionaries(st.text(), JSON, max_size=3))
def test_an_event_read_back_has_the_same_digest(event: Event, data: dict[str, object]) -> None:
    """Data that went through a database's JSON text hashes alike, lone surrogates too."""
    event = replace(event, data=data)
    again = replace(event, data=json.loads(json.dumps(dict(event.data))))
    assert again.digest() == event.digest()

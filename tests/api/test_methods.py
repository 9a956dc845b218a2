"""The submission methods: shown, and switched by operators."""

import asyncio

import pytest

from app.domain.events import EventKind
from app.engine.store_port import MethodSwitches
from tests.api.kit import Json, Running

pytestmark = pytest.mark.anyio
VERBS = ("reset", "disable", "enable")


async def switch(api: Running, name: str, verb: str) -> Json:
    """Switch a method; gives its state."""
    answer = await api.client.post(f"/methods/{name}/{verb}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_methods_are_listed_in_their_order(api: Running) -> None:
    """Each with its state, the same alone as in the list."""
    listed = (await api.get("/methods"))["methods"]
    assert [state["name"] for state in listed] == ["jito", "rpc"]
    assert [await api.get(f"/methods/{state['name']}") for state in listed] == listed
    assert listed[1] == {"name": "rpc", "breaker": "closed", "enabled": True, "wait_seconds": 0}


async def test_a_method_is_disabled_and_enabled(api: Running) -> None:
    """The answer is the state it has then; repeating it is no error."""
    for _ in range(2):
        state = await switch(api, "rpc", "disable")
        assert (state["enabled"], state["wait_seconds"]) == (False, None)
    assert api.methods.disabled == {"rpc"}
    assert await api.store.method_switches() == MethodSwitches(frozenset({"rpc"}), {})
    assert (await switch(api, "rpc", "enable"))["enabled"]
    assert not api.methods.disabled


async def test_a_reset_closes_the_breaker(api: Running) -> None:
    """Of the named method, and of no other."""
    api.methods.open = {"jito", "rpc"}
    assert (await switch(api, "rpc", "reset"))["breaker"] == "closed"
    assert api.methods.open == {"jito"}


async def test_every_switch_is_told_in_the_trail(api: Running) -> None:
    """Among the events of the account, as of no order."""
    await api.new_order()
    for verb in VERBS:
        await switch(api, "rpc", verb)
    await api.seal()
    _, *events = (await api.get("/events"))["events"]
    assert [(e["order_id"], e["kind"], e["data"]) for e in events] == [
        (None, EventKind.METHOD_RESET, {"method": "rpc"}),
        (None, EventKind.METHOD_DISABLED, {"method": "rpc"}),
        (None, EventKind.METHOD_ENABLED, {"method": "rpc"}),
    ]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_method_is_not_found(api: Running, verb: str) -> None:
    """By every verb, and when it is looked at."""
    for ask, path in [("POST", f"/methods/bundle/{verb}"), ("GET", "/methods/bundle")]:
        answer = await api.client.request(ask, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "METHOD_NOT_FOUND")


async def test_an_unknown_verb_is_not_found_and_a_get_does_nothing(api: Running) -> None:
    """A link that is followed switches nothing off."""
    answer = await api.client.post("/methods/rpc/explode")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    answer = await api.client.get("/methods/rpc/disable")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert not api.methods.disabled


async def test_a_parameter_is_refused_and_switches_nothing(api: Running) -> None:
    """What is not understood is never ignored."""
    for verb in VERBS:
        answer = await api.client.post(f"/methods/rpc/{verb}", params={"for": "1h"})
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_PARAMETER")
    assert not api.methods.disabled


async def test_two_that_switch_at_once_both_get_an_answer(api: Running) -> None:
    """The event is told once."""
    await asyncio.gather(*(switch(api, "rpc", "disable") for _ in range(5)))
    await api.seal()
    assert len((await api.get("/events"))["events"]) == 1

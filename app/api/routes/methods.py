"""Submission methods: looked at, and switched by operators."""

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call


async def list_methods(call: Call) -> Answer:
    """List the configured methods in their order, each with its state."""
    call.query()
    return json_answer({"methods": list(call.service.methods.states())})


async def get_method(call: Call) -> Answer:
    """Show one method's state."""
    call.query()
    return json_answer(call.service.methods.state(_name(call)))


async def reset_method(call: Call) -> Answer:
    """Close a method's breaker and forget its back-offs."""
    call.query()
    return json_answer(await call.service.methods.reset(_name(call)))


async def disable_method(call: Call) -> Answer:
    """Push nothing through a method until it is enabled again."""
    call.query()
    return json_answer(await call.service.methods.disable(_name(call)))


async def enable_method(call: Call) -> Answer:
    """Take a method into use again."""
    call.query()
    return json_answer(await call.service.methods.enable(_name(call)))


def _name(call: Call) -> str:
    return str(call.scope["path_params"]["name"])

"""What the system says about itself."""

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call
from app.api.problems import Problem
from app.domain.errors import ReasonCode


async def get_status(call: Call) -> Answer:
    """Show network, chain, queue, workers, methods and wallets."""
    call.query()
    return json_answer(call.service.report.status())


async def get_metrics(call: Call) -> Answer:
    """Show the metrics in Prometheus' text format."""
    body, content_type = call.service.report.render_metrics()
    return Answer(200, body, content_type.encode())


async def get_health(_call: Call) -> Answer:
    """Answer as long as the process does: nothing else is looked at."""
    return json_answer({"alive": True})


async def get_readiness(call: Call) -> Answer:
    """Answer 200 when signals can be executed, else 503 with the reasons."""
    reasons = tuple(call.service.report.readiness())
    if reasons:
        what = "signals are accepted and kept, but something stands in the way of executing them"
        raise Problem(ReasonCode.NOT_READY, what, reasons=reasons)
    return json_answer({"ready": True})

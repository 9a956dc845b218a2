"""What every call goes through, whatever endpoint it came to: the journal, and scripted trouble."""

from collections.abc import Callable, Sequence

from app.sandbox.call import View
from app.sandbox.faults import Faults
from app.sandbox.http import Request, Response
from app.sandbox.journal import Entry, Journal
from app.sandbox.rpc import Asked
from app.sandbox.rules import Rule
from app.sandbox.sent import names_of

Work = Callable[[Sequence[View]], Response]  # gets how the chain looks to each of the calls
TooManyCalls = Callable[[Rule, object], Response]  # gets the id of the call that was one too many

BLOCK_ENGINE = "jito"  # the endpoint where every transaction is a bundle too
LIMITED = "rate_limit"  # stands in the journal where no rule, but the endpoint's own limit, refused


class Exchange:
    """The calls of one endpoint."""

    def __init__(
        self, endpoint: str, journal: Journal, faults: Faults, too_many: TooManyCalls
    ) -> None:
        self._endpoint = endpoint
        self._journal = journal
        self._faults = faults
        self._too_many = too_many

    async def run(self, request: Request, asked: Sequence[Asked], work: Work) -> Response:
        """Note the calls of a request, do them as far as the rules let them, and give the answer.

        Raises Dropped for a rule that ends the connection.
        """
        entries = [self._note(request, each) for each in asked]
        hits = [self._strike(request, *pair) for pair in zip(asked, entries, strict=True)]
        rules = [rule for each in hits for rule in each]
        if rules:
            self._name_sends(asked)  # who does the work names them else, but may not come to it
        response = await self._faults.before(
            rules, lambda rule: self._too_many(rule, asked[0].call_id)
        )
        if response is None:
            response = work([self._faults.view(each) for each in hits])
            response = await self._faults.after(rules, response)
        return _answered(entries, response)

    def refuse(self, request: Request, asked: Sequence[Asked], response: Response) -> Response:
        """Note calls that are over the endpoint's own limit, and give their answer."""
        entries = [self._note(request, each) for each in asked]
        self._name_sends(asked)
        for entry in entries:
            entry.faults.append(LIMITED)
        return _answered(entries, response)

    def _name_sends(self, asked: Sequence[Asked]) -> None:
        for each in asked:
            each.sent.update(names_of(each, as_bundle=self._endpoint == BLOCK_ENGINE))

    def _note(self, request: Request, asked: Asked) -> Entry:
        entry = self._journal.note(self._endpoint, request.port, request.path, asked.rpc_method)
        entry.sent = asked.sent
        return entry

    def _strike(self, request: Request, asked: Asked, entry: Entry) -> list[Rule]:
        hits = self._faults.strike(self._endpoint, asked.rpc_method, request.path)
        entry.faults += [rule.kind for rule in hits]
        return hits


def _answered(entries: Sequence[Entry], response: Response) -> Response:
    for entry in entries:
        entry.http = response.status
    return response


def retry_after(rule: Rule) -> tuple[tuple[bytes, bytes], ...]:
    """Give the header Retry-After, if the rule says how long."""
    if rule.retry_after is None:
        return ()
    return ((b"retry-after", f"{rule.retry_after:g}".encode()),)

"""The methods of a block engine, as Jito's own interface and QuickNode's add-on offer them."""

from collections.abc import Sequence

from app.sandbox.bundle_checks import bundle_names, check_bundle, decode_bundle
from app.sandbox.bundles import Bundles
from app.sandbox.call import Call
from app.sandbox.errors import invalid
from app.sandbox.params import Config
from app.sandbox.render import Json
from app.sandbox.transactions import SignedTransaction, other_bundle_id, other_signature

BUNDLES_MAX = 5


class BundleMethods:
    """Sends and statuses; each method is a JSON-RPC method."""

    def __init__(self, bundles: Bundles) -> None:
        self.bundles = bundles

    def send_bundle(self, call: Call) -> object:
        """Take a bundle and give its id: that it came, not that it lands."""
        return self.take_bundle(call, call.params.texts(0), call.params.config(1))

    def take_bundle(self, call: Call, texts: Sequence[str], config: Config) -> str:
        """Check a bundle, submit it and give the id to answer with; raises RpcError."""
        transactions = self._decoded(call, texts, config)
        check_bundle(call.node.chain, self.bundles.tips, transactions)
        name = self.bundles.submit(transactions, call.view, atomic=True)
        return other_bundle_id(name) if call.view.mangles_signatures else name

    def send_transaction(self, call: Call) -> object:
        """Take one transaction as a bundle, and unless the URL forbids it as an ordinary one too."""
        (transaction,) = self._decoded(call, [call.params.text(0)], call.params.config(1))
        check_bundle(call.node.chain, self.bundles.tips, [transaction])
        self.bundles.submit([transaction], call.view, atomic=call.bundle_only)
        if call.view.mangles_signatures:
            return other_signature(transaction)
        return transaction.signature

    def get_bundle_statuses(self, call: Call) -> object:
        """Show the bundles that landed; the others are left out."""
        shown = [self.bundles.shown(each, call) for each in _ids(call)]
        return _in_context(call, [each for each in shown if each is not None])

    def get_inflight_bundle_statuses(self, call: Call) -> object:
        """Show what the engine says of bundles."""
        return _in_context(call, [self.bundles.inflight(each, call) for each in _ids(call)])

    def get_tip_accounts(self, _call: Call) -> object:
        """List the accounts that take tips."""
        return [str(each) for each in self.bundles.tips.accounts]

    def _decoded(self, call: Call, texts: Sequence[str], config: Config) -> list[SignedTransaction]:
        transactions = decode_bundle(texts, config)
        call.sent.update(bundle_names(transactions), bundle_only=call.bundle_only)
        return transactions


def _ids(call: Call) -> list[str]:
    ids = call.params.texts(0)
    if len(ids) > BUNDLES_MAX:
        raise invalid(f"Too many bundle ids provided; max {BUNDLES_MAX}")
    return ids


def _in_context(call: Call, value: object) -> Json:
    slot = call.node.chain.bank("processed", call.view.behind).slot
    return {"context": {"slot": slot}, "value": value}

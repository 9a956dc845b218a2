"""How the known kinds of endpoints refuse, rule by rule; the first that fits decides.

Collected from the vendors' documents and from public code that met these answers. A text that changes
falls through to a code or a status, and what nothing fits is unknown: then nobody is believed.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from app.domain.outcome import ReplyOutcome
from app.executors.replies import SERVER_ERROR, Provider, Rule

_REJECTED: Final = ReplyOutcome.REJECTED
_UNKNOWN: Final = ReplyOutcome.UNKNOWN


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _err(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    """Look at the chain's error in `data.err`, which only a simulation gives."""
    return lambda data: isinstance(data, dict) and fits(data.get("err"))


RATE: Final = (
    Rule(_REJECTED, "rate_limited", http={429}),
    Rule(_REJECTED, "rate_limited", code={429, 419, -32429}),
    Rule(
        _REJECTED,
        "rate_limited",
        text=_words(
            r"rate.?limit|too many requests|request limit reached|requests per second"
            r"|max usage reached|resource has been exhausted"
        ),
    ),
)
"""Too many requests, in every vendor's words."""
_MISSING: Final = Rule(_REJECTED, "method_missing", code={-32601})
AUTH: Final = (
    Rule(_REJECTED, "auth_or_config", http={401, 403, 404}),
    Rule(_REJECTED, "auth_or_config", code={401, 403}),
    Rule(
        _REJECTED,
        "auth_or_config",
        text=_words(r"not authorized|invalid (api )?key|api key|unauthorized|forbidden"),
    ),
)
"""Who asks is not let in, or asks in the wrong place."""
_ALREADY: Final = Rule(
    ReplyOutcome.ALREADY, "already_processed", text=_words(r"already (been )?processed|alreadyproc")
)
_STALE: Final = Rule(  # expired, a lagging node, or landed with an expired blockhash
    _UNKNOWN,
    "blockhash",
    text=_words(r"blockhash ?not ?found|expired blockhash|invalid blockhash"),
)
LANDED: Final = (_ALREADY, _STALE)
"""What may mean that the bytes have landed: the chain knows."""
_FAULT: Final = Rule(_UNKNOWN, SERVER_ERROR, http=range(500, 600))
"""A fault of the vendor's own; what came before it may have been forwarded, whatever the body says."""
_TIP: Final = Rule(
    _REJECTED, "tip", text=_words(r"tip account|tip pdas|must tip|minimum tip|tip too low")
)
_LOCKS: Final = Rule(_REJECTED, "invalid", text=_words(r"too many account locks"))
INVALID: Final = (
    Rule(_REJECTED, "invalid", code={-32602, -32600, -32700}),
    Rule(_REJECTED, "invalid", http={400, 413, 422}),
)
"""The request itself is turned down."""

_SIMULATED: Final = (
    Rule(
        _REJECTED,
        "preflight",
        code={-32002},
        data=_err(lambda err: err is not None and not isinstance(err, str)),
    ),
    Rule(_REJECTED, "signature", code={-32002}, data=_err(lambda err: err == "SignatureFailure")),
    *(
        Rule(each.outcome, each.reason, code={-32002}, text=each.text, data=_err(bool))
        for each in LANDED
    ),
    Rule(_REJECTED, "preflight", code={-32002}, data=_err(lambda err: isinstance(err, str))),
)
"""A node's simulation before sending: the error decides that it found, whatever the message holds."""
_NODE: Final = (
    Rule(_REJECTED, "signature", code={-32003}, text=_words("signature verification")),
    Rule(
        _REJECTED,
        "node_behind",
        code={-32005},
        data=lambda data: isinstance(data, dict) and "numSlotsBehind" in data,
    ),
    Rule(_REJECTED, "invalid", code={-32006}, text=_words("precompile verification")),
    Rule(_REJECTED, "min_context_slot", code={-32016}),
)
"""What a node says before it forwards anything."""

_JITO: Sequence[Rule] = (
    *RATE,
    Rule(_REJECTED, "rate_limited", code={-32097}),
    # the words "duplicate transaction" stand in it, and mean nothing that has landed
    Rule(_REJECTED, "invalid", text=_words(r"must not contain any duplicate transactions")),
    *LANDED,
    _FAULT,
    _TIP,
    _LOCKS,
    Rule(_UNKNOWN, "no_leader", text=_words(r"no connected leader")),
    _MISSING,
    *AUTH,
    *INVALID,
)
_AGAVE: Sequence[Rule] = (
    *_SIMULATED,
    *RATE,
    Rule(_REJECTED, "rate_limited", code={-32097}),
    *LANDED,
    _FAULT,
    _TIP,
    _LOCKS,
    *_NODE,
    _MISSING,
    *AUTH,
    *INVALID,
)

AGAVE: Final = Provider(_AGAVE)
"""sendTransaction of a cluster's node, whoever stands before it. Codes: Agave's custom_error.rs."""
JITO_TRANSACTIONS: Final = Provider((*_SIMULATED, *_JITO))
"""sendTransaction of a Jito block engine."""
JITO_BUNDLES: Final = Provider(_JITO, mismatch="bundle_id_mismatch")
"""sendBundle of a Jito block engine."""
_QUICKNODE: Final = (
    # Agave has both codes for blocks: only the words tell
    Rule(_REJECTED, "tip", code={-32004}, text=_TIP.text),
    Rule(_REJECTED, "rate_limited", code={-32007}, text=_words(r"request limit reached")),
)
QUICKNODE: Final = Provider((*_QUICKNODE, *_AGAVE))
"""sendTransaction of a QuickNode endpoint, which an add-on may hand to Jito instead."""
LIL_JIT: Final = Provider((*_QUICKNODE, *_JITO), mismatch="bundle_id_mismatch")
"""sendBundle of QuickNode's Lil' JIT."""

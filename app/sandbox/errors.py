"""JSON-RPC errors with Agave's codes (`rpc-client-api/src/custom_error.rs`) and texts."""

PREFLIGHT_FAILED = -32002
SIGNATURE_FAILED = -32003
NODE_BEHIND = -32005
UNSUPPORTED_VERSION = -32015
CONTEXT_NOT_REACHED = -32016
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

_TEXTS = {
    "AccountInUse": "Account in use",
    "AccountLoadedTwice": "Account loaded twice",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "SignatureFailure": "Transaction did not pass signature verification",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "TooManyAccountLocks": "Transaction locked too many accounts",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
    "InvalidAddressLookupTableOwner": (
        "Transaction loads an address table account with an invalid owner"
    ),
    "InvalidAddressLookupTableData": (
        "Transaction loads an address table account with invalid data"
    ),
    "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
}


class RpcError(Exception):
    """An error as the client gets it."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def document(self) -> dict[str, object]:
        """Give the `error` member of a response."""
        shown: dict[str, object] = {"code": self.code, "message": self.message}
        return shown if self.data is None else {**shown, "data": self.data}


def invalid(message: str) -> RpcError:
    """Refuse the parameters."""
    return RpcError(INVALID_PARAMS, message)


def error_text(err: object) -> str:
    """Say a transaction error in Agave's words."""
    if isinstance(err, str):
        return _TEXTS.get(err, err)
    if isinstance(err, dict):
        kind, detail = next(iter(err.items()))
        if kind == "InstructionError":
            index, reason = detail
            return f"Error processing Instruction {index}: {_reason_text(reason)}"
        if kind == "DuplicateInstruction":
            return f"Transaction contains a duplicate instruction ({detail}) that is not allowed"
        if kind == "InsufficientFundsForRent":
            index = detail["account_index"]
            return f"Transaction results in an account ({index}) with insufficient funds for rent"
    return str(err)


def _reason_text(reason: object) -> str:
    if isinstance(reason, dict) and "Custom" in reason:
        return f"custom program error: 0x{int(reason['Custom']):x}"
    return str(reason)

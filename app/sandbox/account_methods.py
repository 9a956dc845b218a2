"""What the node says of accounts; state is read exactly at the commitment asked for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.call import Call, Method, in_context
from app.sandbox.errors import INVALID_REQUEST, RpcError, invalid
from app.sandbox.node import Node
from app.sandbox.params import Config, as_pubkey
from app.sandbox.render import Json, Unencodable, account_json, parsed_token_account
from app.sandbox.tokens import TOKEN_PROGRAMS, TokenAccount, token_account, ui_amount

ACCOUNTS_MAX = 100
ENCODINGS = ("binary", "base58", "base64", "jsonParsed")


def get_balance(call: Call) -> object:
    """Give the lamports of an address."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    account = call.node.chain.read(address, config.commitment())
    return in_context(bank, account.lamports if account else 0)


def get_account_info(call: Call) -> object:
    """Show an account, or null."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    return in_context(bank, _show(call, address, config, "binary"))


def get_multiple_accounts(call: Call) -> object:
    """Show up to 100 accounts of the same bank."""
    texts, config = call.params.texts(0), call.params.config(1)
    if len(texts) > ACCOUNTS_MAX:
        raise invalid(f"Too many inputs provided; max {ACCOUNTS_MAX}")
    keys = [as_pubkey(text) for text in texts]
    bank = call.bank(config)
    return in_context(bank, [_show(call, key, config, "base64") for key in keys])


def get_token_account_balance(call: Call) -> object:
    """Give what a token account holds."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    account = call.node.chain.read(address, config.commitment())
    if account is None:
        raise invalid("Invalid param: could not find account")
    holding = token_account(account)
    decimals = call.node.chain.machine.decimals(holding.mint) if holding else None
    if holding is None or decimals is None:
        raise invalid("Invalid param: not a Token account")
    return in_context(bank, ui_amount(holding.amount, decimals))


def get_token_accounts_by_owner(call: Call) -> object:
    """Show an owner's token accounts of one mint or one token program."""
    owner, wanted, config = call.params.pubkey(0), _filter(call), call.params.config(2)
    bank = call.bank(config)
    shown = []
    for address in call.node.chain.machine.holdings.of(owner):
        holding = token_account(call.node.chain.read(address, config.commitment()))
        if holding is not None and wanted(holding):
            shown.append(
                {"pubkey": str(address), "account": _show(call, address, config, "binary")}
            )
    return in_context(bank, shown)


def _filter(call: Call) -> Callable[[TokenAccount], bool]:
    config = call.params.config(1)
    mint_text, program_text = config.text("mint"), config.text("programId")
    if mint_text is not None:
        mint = as_pubkey(mint_text)
        if call.node.chain.machine.decimals(mint) is None:
            raise invalid("Invalid param: could not find mint")
        return lambda holding: holding.mint == mint
    if program_text is None:
        raise invalid("Invalid params: expected `mint` or `programId`.")
    program = as_pubkey(program_text)
    if program not in TOKEN_PROGRAMS:
        raise invalid("Invalid param: unrecognized Token program id")
    return lambda holding: holding.program == program


def _show(call: Call, address: Pubkey, config: Config, default: str) -> Json | None:
    account = call.node.chain.read(address, config.commitment())
    return show_account(call.node, account, config, default)


def show_account(node: Node, account: Account | None, config: Config, default: str) -> Json | None:
    """Show an account in the encoding a configuration asks for."""
    encoding = config.choice("encoding", default, ENCODINGS)
    if account is None:
        return None
    parsed = _parsed(node, account) if encoding == "jsonParsed" else None
    try:
        return account_json(account, encoding, config.window(), parsed)
    except Unencodable as error:
        raise RpcError(INVALID_REQUEST, str(error)) from error


def _parsed(node: Node, account: Account) -> Json | None:
    holding = token_account(account)
    decimals = node.chain.machine.decimals(holding.mint) if holding else None
    if holding is None or decimals is None:
        return None
    return parsed_token_account(holding, decimals, len(account.data))


ACCOUNT_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getAccountInfo": get_account_info,
        "getBalance": get_balance,
        "getMultipleAccounts": get_multiple_accounts,
        "getTokenAccountBalance": get_token_account_balance,
        "getTokenAccountsByOwner": get_token_accounts_by_owner,
    }
)

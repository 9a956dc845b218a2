"""The commands and their options; what they do stands in modules of their own, loaded when needed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.cli.errors import ShellError
from app.domain.errors import StartupError

EXIT_UNUSABLE = 2
"""A command was given wrong arguments or settings, or what it needs is not there."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C, as shells count it: 128 + SIGINT."""

cli = typer.Typer(
    name="synergy7",
    help="Executes trading signals on Solana: an order is never executed twice and never lost.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
orders_cli = typer.Typer(help="Look at the orders of the running service, or cancel them.")
cli.add_typer(orders_cli, name="orders", no_args_is_help=False)
methods_cli = typer.Typer(
    help="Look at the submission methods of the running service, or switch them."
)
cli.add_typer(methods_cli, name="methods", no_args_is_help=False)
metrics_cli = typer.Typer(help="Look after the metrics database.")
cli.add_typer(metrics_cli, name="metrics", no_args_is_help=True)

Url = Annotated[
    str | None, typer.Option(help="Where the service is; by default as in the settings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's JSON instead.")]
OrderId = Annotated[str, typer.Argument(metavar="ORDER_ID", show_default=False)]
MethodName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Keep = Annotated[Path | None, typer.Option(help="Run in this empty folder and leave it there.")]


def run(arguments: Sequence[str]) -> int:
    """Run a command line; gives its exit code. Known troubles are one line on stderr."""
    try:
        return int(cli(list(arguments), prog_name="synergy7", standalone_mode=False) or 0)
    except typer.TyperException as error:
        what = error.format_message().rstrip(".").replace("\n", " ")
        return _unusable(f"USAGE: {what}; see synergy7 --help")
    except (StartupError, ShellError) as error:
        return _unusable(str(error))
    except typer.Abort:
        return EXIT_INTERRUPTED


def _unusable(line: str) -> int:
    print(line, file=sys.stderr)  # noqa: T201 - the one line that a shell shows
    return EXIT_UNUSABLE


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"synergy7 {version('synergy7-execution')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]


@cli.callback(invoke_without_command=True)
def _start(context: typer.Context, _version: Version = False) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@orders_cli.callback(invoke_without_command=True)
def _orders(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@cli.command()
def serve() -> int:
    """Run the service: workers and HTTP, in this process, until SIGTERM or Ctrl-C."""
    from app.cli.serve import serve as run_service
    from app.settings import load_settings

    return run_service(load_settings())


@cli.command()
def worker() -> int:
    """Run workers without HTTP on the orders that services take in (PostgreSQL)."""
    from app.cli.worker import run_worker
    from app.settings import load_settings

    return run_worker(load_settings())


@cli.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def sandbox(context: typer.Context) -> int:
    """Run a sandbox chain in the foreground; arguments are the sandbox's own (try --help)."""
    from app.cli.sandbox import run_sandbox

    return run_sandbox(context.args)


@cli.command()
def migrate() -> int:
    """Bring the databases to this version (the service does so itself at start)."""
    from app.cli.migrate import migrate_databases
    from app.settings import load_settings

    return migrate_databases(load_settings())


@cli.command()
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The copy; by default a name of its own.")
    ] = None,
) -> int:
    """Copy the orders database to FILE while the service runs (SQLite)."""
    from app.cli.recovery import backup_orders
    from app.settings import load_settings

    return backup_orders(load_settings(), file)


@cli.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `backup` made.")],
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Take what can be read of a damaged file.")
    ] = False,
) -> int:
    """Put a copy into the orders database's place, to be compared with the chain (SQLite, stopped)."""
    from app.cli.recovery import restore_orders
    from app.settings import load_settings

    return restore_orders(load_settings(), file, salvaging=salvage)


@cli.command()
def reconcile(
    since: Annotated[
        str | None,
        typer.Option(help="RFC 3339: what was stored before is complete; else all is read."),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option(help="Read the whole history; so it is without --since.")
    ] = False,
) -> int:
    """Have an orders database that lost commits compared with the chain (service stopped)."""
    from app.cli.recovery import reconcile_orders
    from app.settings import load_settings

    return reconcile_orders(load_settings(), since, whole=from_beginning)


@cli.command()
def halt(
    reason: Annotated[str | None, typer.Option(help="Why; shown until trading is resumed.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Sign nothing new until `resume`, in any process of the service."""
    from app.cli.recovery import halt_trading

    return halt_trading(url, reason, as_json=as_json)


@cli.command()
def resume(as_json: AsJson = False, url: Url = None) -> int:
    """Let trading go on."""
    from app.cli.recovery import resume_trading

    return resume_trading(url, as_json=as_json)


@cli.command()
def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 also when something could not be checked.")
    ] = False,
) -> int:
    """Hold every order against the audit trail and the chain; reads only."""
    from app.cli.verify import verify_orders
    from app.settings import load_settings

    return verify_orders(load_settings(), as_json=as_json, strict=strict)


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead.")] = False,
) -> int:
    """Check key, endpoints, clock, balances, methods and pools before trading; changes nothing."""
    from app.cli.doctor import run_doctor
    from app.settings import load_settings

    return run_doctor(load_settings(), as_json=as_json)


@metrics_cli.command("rebuild")
def rebuild_metrics() -> int:
    """Derive the metrics database anew from the audit trail; the old file is kept aside."""
    from app.cli.metrics import rebuild_metrics as rebuild
    from app.settings import load_settings

    return rebuild(load_settings())


@cli.command()
def demo(folder: Keep = None) -> int:
    """Trade a batch of signals before your eyes, on a service and a sandbox of its own."""
    from app.cli.demo import run_demo

    return run_demo(folder)


@cli.command()
def selftest(folder: Keep = None) -> int:
    """Run orders through every configured method on a private sandbox."""
    from app.cli.selftest import run_selftest

    return run_selftest(folder)


@orders_cli.command("list")
def list_orders(
    status: Annotated[str | None, typer.Option(help="Only orders in this status.")] = None,
    market: Annotated[str | None, typer.Option(help="Only this market, e.g. SOL-USDC.")] = None,
    action: Annotated[str | None, typer.Option(help="Only BUY or SELL.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List orders, newest first."""
    from app.cli.orders import list_orders as show_list

    filters = {"status": status, "market": market, "action": action, "strategy": strategy}
    return show_list(url, {**filters, "limit": limit}, as_json=as_json)


@orders_cli.command("show")
def show_order(order_id: OrderId, as_json: AsJson = False, url: Url = None) -> int:
    """Show one order with its fill, attempts and submissions."""
    from app.cli.orders import show_order as show

    return show(url, order_id, as_json=as_json)


@orders_cli.command("cancel")
def cancel_orders(
    order_id: Annotated[str | None, typer.Argument(metavar="[ORDER_ID]")] = None,
    market: Annotated[str | None, typer.Option(help="Every order of this market.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Every order of this strategy.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Cancel one order, or every open order of a market or a strategy."""
    from app.cli.orders import cancel_many, cancel_order

    filters = {"market": market, "strategy": strategy}
    if (order_id is None) == (market is None and strategy is None):
        raise ShellError("USAGE", "cancel takes an order id, or --market, --strategy", "see --help")
    if order_id is None:
        return cancel_many(url, filters, as_json=as_json)
    return cancel_order(url, order_id, as_json=as_json)


@orders_cli.command("resolve")
def resolve_order(
    order_id: OrderId,
    how: Annotated[str, typer.Option("--as", help="How it ended: filled, failed or expired.")],
    evidence: Annotated[str, typer.Option(help="How that is known; kept in the audit trail.")],
    base_amount: Annotated[str | None, typer.Option(help="Traded, for filled, e.g. 0.01.")] = None,
    quote_amount: Annotated[str | None, typer.Option(help="As --base-amount, of quote.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """End an order in doubt, unless what the chain shows speaks against it."""
    from app.cli.orders import resolve_order as resolve

    word = {"as": how, "evidence": evidence}
    amounts = {"base_amount": base_amount, "quote_amount": quote_amount}
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    return resolve(url, order_id, {**word, **given}, as_json=as_json)


@methods_cli.callback(invoke_without_command=True)
def _methods(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    if context.invoked_subcommand is None:
        from app.cli.methods import list_methods

        list_methods(url, as_json=as_json)


@methods_cli.command("reset")
def reset_method(name: MethodName, as_json: AsJson = False, url: Url = None) -> int:
    """Close a method's breaker and forget its back-offs."""
    from app.cli.methods import switch_method

    return switch_method(url, name, "reset", as_json=as_json)


@methods_cli.command("disable")
def disable_method(name: MethodName, as_json: AsJson = False, url: Url = None) -> int:
    """Push nothing through a method until it is enabled again."""
    from app.cli.methods import switch_method

    return switch_method(url, name, "disable", as_json=as_json)


@methods_cli.command("enable")
def enable_method(name: MethodName, as_json: AsJson = False, url: Url = None) -> int:
    """Take a method into use again."""
    from app.cli.methods import switch_method

    return switch_method(url, name, "enable", as_json=as_json)

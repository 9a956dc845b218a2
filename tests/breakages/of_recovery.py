"""Breakages of what mends: restored and damaged databases, disks, and what is held against the chain."""

from typing import Final

from tests.breakages.breakage import Breakage

NEVER_TWICE: Final = "an order that a database lost is not executed again"
NEVER_LOST: Final = "what the disk lost is found again, or told"
WAIT: Final = "nothing is signed before a restored database is complete"
NOTHING_HIDDEN: Final = "nothing is hidden: a change or a contradiction is found"

_HISTORY: Final = "solana/test_wallet_history.py"
_RECOVERY: Final = "database/test_recovery.py"

BREAKAGES: Final = (
    Breakage(
        name="a restored database is not halted",
        promise=WAIT,
        file="database/recovery.py",
        old='    _put(conn, HALTED, {"reason": reason, "since_us": at_us})\n',
        new="",
        tests=(
            "database/test_recovery.py::test_a_marked_database_is_halted_until_it_is_reconciled",
        ),
    ),
    Breakage(
        name="a restored database is not marked",
        promise=WAIT,
        file="database/recovery.py",
        old="    _put(conn, RECONCILING, document)\n    reason",
        new="    reason",
        tests=("database/test_backup.py::test_what_was_there_is_kept_and_the_copy_is_marked",),
    ),
    Breakage(
        name="the chain is read before the last blockhash has died",
        promise=NEVER_TWICE,
        file="engine/reconciliation.py",
        old="        return max(told, stored) + MARGIN_BLOCKS\n",
        new="        return max(told, stored)\n",
        tests=("engine/test_reconciled_heights.py::test_nodes_that_lag_do_not_shorten_the_wait",),
    ),
    Breakage(
        name="a node is listed that has not finalized enough",
        promise=NEVER_TWICE,
        file="solana/wallet_history.py",
        old="    if own.block_height <= until_height:\n",
        new="    if False:\n",
        tests=("solana/test_wallet_history.py::test_a_history_that_cannot_be_trusted_is_none",),
    ),
    Breakage(
        name="one node's list of a wallet is enough",
        promise=NEVER_TWICE,
        file="solana/wallet_history.py",
        old="        listings = await self._all(ask)\n",
        new="        listings = (await self._all(ask))[:1]\n",
        tests=(f"{_HISTORY}::test_none_of_those_that_must_agree_can_hide_an_execution",),
    ),
    Breakage(
        name="bytes that nobody signed hide an execution",
        promise=NEVER_TWICE,
        file="solana/found.py",
        old="    if not all(transaction.verify_with_results()):\n",
        new="    if False:\n",
        tests=("solana/test_found.py::test_bytes_that_do_not_bear_their_signatures_are_none",),
    ),
    Breakage(
        name="a repeat of a lost order's signal is a new order",
        promise=NEVER_TWICE,
        file="database/replay.py",
        old="    if not hashes:\n",
        new="    if hashes:\n",
        tests=("database/test_recovery.py::test_a_repeat_of_its_signal_gets_it",),
    ),
    Breakage(
        name="an open order of an executed key goes on",
        promise=NEVER_TWICE,
        file="database/lost_orders.py",
        old="        ended += 1\n",
        new="        continue\n",
        tests=(
            f"{_RECOVERY}::test_an_open_order_of_its_key_is_ended_and_a_repeat_gets_the_execution",
        ),
    ),
    Breakage(
        name="an order goes on although the chain shows it executed",
        promise=NEVER_TWICE,
        file="database/contradictions.py",
        old="    if not status.final:\n",
        new="    if False:\n",
        tests=("database/test_contradictions.py",),
    ),
    Breakage(
        name="a process that lost the mark goes on reconciling",
        promise=WAIT,
        file="database/recovery.py",
        old='    if document is None or document.get("process") != holder.process_id:\n',
        new="    if document is None:\n",
        tests=("database/test_recovery.py::test_a_process_that_lost_the_mark_writes_nothing_more",),
    ),
    Breakage(
        name="an order is queued again whose attempt may have landed before the nodes' histories",
        promise=NEVER_TWICE,
        file="database/recovery.py",
        old='    .where(_IS_BARE, bindparam("first_slot") <= _SLOT_BEFORE_IT)\n',
        new='    .where(_IS_BARE, bindparam("first_slot") <= 2**62)\n',
        tests=("database/test_backup.py::test_an_order_without_its_live_attempt_is_queued_again",),
    ),
    Breakage(
        name="a backup overwrites what has its name",
        promise=NEVER_LOST,
        file="database/backup.py",
        old="        link(partial, target)\n",
        new="        partial.replace(target)\n",
        tests=("database/test_backup.py::test_a_copy_never_takes_anothers_name",),
    ),
    Breakage(
        name="a log whose sync failed is built upon as it is",
        promise=NEVER_LOST,
        file="database/renewal.py",
        old="            _rewrite(log)\n",
        new="            pass\n",
        tests=(
            "database/test_renewal.py::test_a_process_that_died_of_it_leaves_no_hole_in_the_log",
        ),
    ),
    Breakage(
        name="salvaging is silent about attempts whose order is gone",
        promise=NEVER_LOST,
        file="database/salvage.py",
        old='                self._orphans.append(values["signature"])\n',
        new="                pass\n",
        tests=("database/test_salvage.py::test_attempts_without_their_order_are_named",),
    ),
    Breakage(
        name="the trail's hashes are not verified",
        promise=NOTHING_HIDDEN,
        file="engine/verification.py",
        old="        elif chain_hash(previous, position, event.digest()) != event.hash:\n",
        new="        elif False:\n",
        tests=("database/test_verification.py::test_each_tampering_is_found",),
    ),
    Breakage(
        name="orders that only the trail knows are passed over",
        promise=NOTHING_HIDDEN,
        file="engine/verification.py",
        old="                if not self._was_removed(events):\n",
        new="                if False:\n",
        tests=("database/test_verification.py::test_each_tampering_is_found",),
    ),
    Breakage(
        name="an execution that nobody knows is passed over",
        promise=NOTHING_HIDDEN,
        file="engine/verification.py",
        old="            elif signed:\n",
        new="            elif False:\n",
        tests=("database/test_verification.py::test_an_execution_that_nobody_knows_is_found",),
    ),
)

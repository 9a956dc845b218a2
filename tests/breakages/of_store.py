"""Breakages of what keeps orders: intake, leases, the writes and the trail."""

from typing import Final

from tests.breakages.breakage import Breakage

DURABLE: Final = "accepted means durable"
IDEMPOTENT: Final = "a key means one order for ever"
FENCED: Final = "a write by who lost the lease does nothing"
ONE_LIVE: Final = "at most one attempt of an order is alive"
TOLD: Final = "nothing is hidden: every move is told, in one unbroken chain"
FUNDS: Final = "live attempts never spend more than the wallet has"
SEQUENCE: Final = "an order in sequence overtakes no opposite one"
EXACT: Final = "every amount is exact"

BREAKAGES: Final = (
    Breakage(
        name="answered before the disk has it",
        promise=DURABLE,
        file="database/engine.py",
        old='        "PRAGMA synchronous=FULL",\n',
        new='        "PRAGMA synchronous=OFF",\n',
        tests=("database/test_writer.py::test_sqlite_writes_durably",),
    ),
    Breakage(
        name="a commit whose outcome is unknown is called refused",
        promise=DURABLE,
        file="database/groups.py",
        old="        raise GroupError(error, unknown=True) from error\n",
        new="        raise GroupError(error) from error\n",
        tests=("database/test_writer.py::test_a_commit_that_fails_fails_the_whole_group",),
    ),
    Breakage(
        name="a key with another body is answered with the old order",
        promise=IDEMPOTENT,
        file="database/intake.py",
        old="    if rows[0].fingerprint != new.fingerprint:\n",
        new="    if not rows:\n",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="an Idempotency-Key is not looked up",
        promise=IDEMPOTENT,
        file="database/intake.py",
        old="    if key is None and client is None:\n",
        new="    if client is None:\n",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="one account's key finds another's order",
        promise=IDEMPOTENT,
        file="database/intake.py",
        old='                ORDERS.c.account == bindparam("account"), ORDERS.c.idempotency_key == _KEY\n',
        new='                bindparam("account") != "", ORDERS.c.idempotency_key == _KEY\n',
        tests=("database/test_intake.py::test_keys_belong_to_their_account[sqlite]",),
    ),
    Breakage(
        name="a live process's lease is ignored",
        promise=FENCED,
        file="database/claims.py",
        old="        and_(ORDERS.c.process != me, ~alive),\n",
        new="        ORDERS.c.process != me,\n",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="a take-over does not raise the version",
        promise=FENCED,
        file="database/claims.py",
        old="        process=bindparam(_ME),\n        version=ORDERS.c.version + 1,\n",
        new="        process=bindparam(_ME),\n        version=ORDERS.c.version,\n",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="writes do not match the version",
        promise=FENCED,
        file="database/record.py",
        old='            ORDERS.c.version == bindparam("match_version"),\n',
        new='            ORDERS.c.version >= bindparam("match_version"),\n',
        tests=(
            "database/test_contract.py::test_an_older_claim_of_the_same_process_writes_nothing[sqlite]",
        ),
    ),
    Breakage(
        name="STORE does not match the version",
        promise=FENCED,
        file="database/attempts.py",
        old='        ORDERS.c.version == bindparam("at_version"),\n',
        new='        ORDERS.c.version >= bindparam("at_version"),\n',
        tests=(
            "database/test_contract.py::test_an_older_claim_of_the_same_process_writes_nothing[sqlite]",
        ),
    ),
    Breakage(
        name="a dead process's orders stay held",
        promise="a crash loses no order",
        file="database/claims.py",
        old="            PROCESSES.c.heartbeat_at_us >= NowUs() - LEASE_US,\n",
        new="",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="a second process opens the same SQLite file",
        promise=FENCED,
        file="database/lock.py",
        old="fcntl.LOCK_EX | fcntl.LOCK_NB",
        new="fcntl.LOCK_SH | fcntl.LOCK_NB",
        tests=("database/test_leases.py::test_a_second_process_is_kept_out_of_a_sqlite_file",),
    ),
    Breakage(
        name="an attempt is stored although a cancellation was asked for",
        promise="after a cancellation nothing more is signed or pushed",
        file="database/attempts.py",
        old="        ORDERS.c.cancel_requested_at_us.is_(None),\n",
        new="",
        tests=("database/test_intake.py::test_after_the_wish_nothing_more_is_signed[sqlite]",),
    ),
    Breakage(
        name="a cancelled order's worker keeps its lease",
        promise="after a cancellation nothing more is signed or pushed",
        file="database/intake.py",
        old="        process=None,\n        version=ORDERS.c.version + 1,\n",
        new="        process=None,\n        version=ORDERS.c.version,\n",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="an attempt is stored beside a live one",
        promise=ONE_LIVE,
        file="database/attempts.py",
        old="""\
    if view.live_attempt is not None:
        raise IllegalMoveError(f"order {view.order.order_id} has a live attempt")
""",
        new="",
        tests=("database/test_attempts.py::test_with_an_attempt_alive_no_other_is_stored[sqlite]",),
    ),
    Breakage(
        name="an order is written without its attempt",
        promise=TOLD,
        file="database/record.py",
        old="            raise Undo(LostLease())\n",
        new="            return\n",
        tests=(
            "database/test_attempts.py::test_a_stale_view_of_an_attempt_writes_nothing[sqlite]",
        ),
    ),
    Breakage(
        name="an event is told of a write that matched no row",
        promise=TOLD,
        file="database/record.py",
        old="    if row is None:\n        return LostLease()\n",
        new="""\
    if row is None:
        told = [Note(change.kind, change.at_us, change.data) for change in changes]
        given = claimed.view.order
        last = given.version + 1_000
        append(conn, account=given.account, order_id=given.order_id, last_seq=last, notes=told)
        return LostLease()
""",
        tests=("database/test_contract.py::test_the_fake_does_what_the_real_one_does[sqlite]",),
    ),
    Breakage(
        name="a store is not told in the same commit",
        promise=TOLD,
        file="database/attempts.py",
        old="""\
    note = Note(EventKind.SIGNED, storing.at_us, _told(attempt))
    append(conn,""",
        new="""\
    note = Note(EventKind.SIGNED, storing.at_us, _told(attempt))
    (lambda *_, **__: None)(conn,""",
        tests=("database/test_attempts.py::test_store_is_told_in_the_same_commit[sqlite]",),
    ),
    Breakage(
        name="events are sealed out of order",
        promise=TOLD,
        file="database/trail.py",
        old="    .order_by(EVENTS.c.event_id)\n",
        new="    .order_by(EVENTS.c.event_id.desc())\n",
        tests=("database/test_trail.py::test_the_seal_is_gapless_and_chained[sqlite]",),
    ),
    Breakage(
        name="the sealed trail has gaps",
        promise=TOLD,
        file="database/trail.py",
        old="        position += 1\n",
        new="        position += 2\n",
        tests=("database/test_trail.py::test_the_seal_is_gapless_and_chained[sqlite]",),
    ),
    Breakage(
        name="a hash does not cover the one before",
        promise=TOLD,
        file="domain/events.py",
        old='f"{previous}:{position}:{digest}"',
        new='f"{position}:{digest}"',
        tests=("domain/test_events.py::test_a_removed_event_is_found",),
    ),
    Breakage(
        name="what live attempts may spend is not reserved",
        promise=FUNDS,
        file="database/attempts.py",
        old="    together = _lacking(storing, reserved)\n",
        new="    together = _lacking(storing, _Reserved(0, 0))\n",
        tests=(
            "database/test_attempts.py::test_live_attempts_reserve_what_they_may_spend[sqlite]",
        ),
    ),
    Breakage(
        name="an order in sequence overtakes an earlier one",
        promise=SEQUENCE,
        file="database/claims.py",
        old='    ORDERS.c.next_attempt_at_us <= bindparam("at"),\n    ITS_TURN,\n',
        new='    ORDERS.c.next_attempt_at_us <= bindparam("at"),\n',
        tests=(
            "database/test_sequence.py::test_an_opposite_order_waits_whatever_its_priority[sqlite]",
        ),
    ),
    Breakage(
        name="amounts go through floats",
        promise=EXACT,
        file="domain/money.py",
        old="            return int(amount.quantize(",
        new="            return int(Decimal(float(amount)).quantize(",
        tests=("domain/test_money.py::test_base_units_are_given_exactly_or_not_at_all",),
    ),
)

"""Breakages of what decides, signs, pushes, judges and proves."""

from typing import Final

from tests.breakages.breakage import Breakage

NEVER_TWICE: Final = "an order is executed at most once"
WRITE_AHEAD: Final = "an attempt is stored before its first byte leaves"
PROOF_FIRST: Final = "new bytes are signed only after every earlier attempt is proved dead"
UNKNOWN: Final = "unknown is never failed"
LEASE: Final = "a process without a lease signs and pushes nothing"
LOST: Final = "a crash loses no order"
CANCEL: Final = "after a cancellation nothing more is signed or pushed"
DEADLINE: Final = "after the deadline nothing is signed or pushed"
PRIVATE: Final = "private bytes never become public"
TOLD: Final = "nothing is hidden"
FILLS: Final = "a fill is what the chain holds for good"

_EARLY_PUSH: Final = """\
        from app.domain.attempt import AttemptStatus, StoredAttempt
        from app.domain.lanes import Turn
        early = StoredAttempt(
            attempt_id="early", order_id=held.order_id, number=1, wallet="main",
            status=AttemptStatus.SIGNED, plan=plan, signed=signed,
            signed_at_us=self._clock.now_us(),
        )
        lanes = Turn(tuple(lane.method for lane in plan.lanes), frozenset(), frozenset())
        await self._executor.push(early, lanes, lambda: True, lambda _pushed: None)
        stored = await self._timed("store", held.write(store))
"""

BREAKAGES: Final = (
    Breakage(
        name="the bytes are sent before they are stored",
        promise=WRITE_AHEAD,
        file="engine/lifecycle.py",
        old='        stored = await self._timed("store", held.write(store))\n',
        new=_EARLY_PUSH,
        tests=("engine/test_lifecycle.py::test_no_byte_leaves_before_the_attempt_is_committed",),
    ),
    Breakage(
        name="a write whose answer was lost is not read again",
        promise=LOST,
        file="engine/held.py",
        old="            self._uncertain = True\n",
        new="            self._uncertain = False\n",
        tests=("engine/test_held.py::test_after_a_lost_answer_the_order_is_taken_as_it_is_stored",),
    ),
    Breakage(
        name="signed without a lease",
        promise=LEASE,
        file="engine/lifecycle.py",
        old="        if not self._lease.held():\n",
        new="        if False:\n",
        tests=("engine/test_lifecycle.py::test_nothing_is_signed_without_a_lease",),
    ),
    Breakage(
        name="pushed without a lease",
        promise=LEASE,
        file="engine/confirmation.py",
        old="            and self._lease.held()\n",
        new="",
        tests=("engine/test_pushes.py::test_without_a_lease_nothing_is_pushed_until_it_is_back",),
    ),
    Breakage(
        name="the lease counts from the answer to a heartbeat",
        promise=LEASE,
        file="engine/lease.py",
        old="        self._until = asked + LEASE_SECONDS\n",
        new="        self._until = self._clock.monotonic() + LEASE_SECONDS\n",
        tests=("engine/test_lease.py::test_a_lease_counts_from_before_the_beat_was_sent",),
    ),
    Breakage(
        name="the status is read before the expiry",
        promise=PROOF_FIRST,
        file="solana/witnesses.py",
        old="""\
        heights = await _expiry(client, attempt)
        valid, invalid_slot = await _validity(client, attempt, heights.slot)
        if valid:
            return _Valid(client.endpoint, heights.block_height)
        status, ledger_min = await _status(client, attempt), await _ledger_slot_min(client)
""",
        new="""\
        status, ledger_min = await _status(client, attempt), await _ledger_slot_min(client)
        heights = await _expiry(client, attempt)
        valid, invalid_slot = await _validity(client, attempt, heights.slot)
        if valid:
            return _Valid(client.endpoint, heights.block_height)
""",
        tests=("solana/test_chain.py::test_an_expired_absent_attempt_is_proved_dead",),
    ),
    Breakage(
        name="the slot at which a status was known is not fenced",
        promise=PROOF_FIRST,
        file="solana/witnesses.py",
        old="""\
    if status.context_slot < heights.slot:
        raise ValueError(f"{client.endpoint}: the status is older than the expiry")
""",
        new="",
        tests=("solana/test_chain.py::test_nothing_less_is_a_proof",),
    ),
    Breakage(
        name="the oldest slot that an endpoint keeps is not looked at",
        promise=PROOF_FIRST,
        file="solana/witnesses.py",
        old="    if ledger_min > attempt.signed.blockhash.slot:\n",
        new="    if ledger_min < 0:\n",
        tests=("solana/test_chain.py::test_nothing_less_is_a_proof",),
    ),
    Breakage(
        name="a blockhash that is valid proves a death",
        promise=PROOF_FIRST,
        file="solana/witnesses.py",
        old="        if valid:\n",
        new="        if False:\n",
        tests=("solana/test_chain.py::test_nothing_less_is_a_proof",),
    ),
    Breakage(
        name="one endpoint proves what takes two",
        promise=PROOF_FIRST,
        file="solana/witnesses.py",
        old="        return len(set(endpoints)) >= self._needed\n",
        new="        return len(set(endpoints)) >= 1\n",
        tests=(
            "solana/test_witnesses.py::test_an_endpoint_named_twice_is_one_witness_of_a_failure",
        ),
    ),
    Breakage(
        name="a death is proved by age",
        promise=PROOF_FIRST,
        file="domain/outcome.py",
        old="            self.height > last_valid_block_height\n",
        new="            self.height > last_valid_block_height - 150\n",
        tests=(
            "domain/test_outcome.py::test_evidence_proves_by_height_blockhash_status_and_history",
        ),
    ),
    Breakage(
        name="a death is recorded without a proof",
        promise=PROOF_FIRST,
        file="domain/changes.py",
        old="    if proof is None or not attempt.is_proved_dead(proof):\n",
        new="    if proof is None:\n",
        tests=("domain/test_changes.py::test_death_without_a_proof_is_not_recorded",),
    ),
    Breakage(
        name="signed anew after a timeout, not_sent or rejected",
        promise=PROOF_FIRST,
        file="domain/retry.py",
        old="    if any(not attempt.status.dead for attempt in view.attempts):\n",
        new="""\
    heard = {"accepted", "already"}
    if any(
        not attempt.status.dead
        and (not attempt.submissions or any(s.outcome in heard for s in attempt.submissions))
        for attempt in view.attempts
    ):
""",
        tests=("domain/test_retry.py::test_no_reply_lets_another_attempt_be_signed",),
    ),
    Breakage(
        name="`already processed` is taken for a failure",
        promise=UNKNOWN,
        file="domain/lanes.py",
        old="HOLDS: Final = frozenset({ReplyOutcome.ACCEPTED, ReplyOutcome.ALREADY})\n",
        new="HOLDS: Final = frozenset({ReplyOutcome.ACCEPTED})\n",
        tests=("domain/test_lanes.py::test_the_turn_follows_from_what_is_stored",),
    ),
    Breakage(
        name="`already processed` leads to no look-up",
        promise=UNKNOWN,
        file="engine/confirmation.py",
        old="        if submission.outcome is ReplyOutcome.ALREADY:",
        new="        if False:",
        tests=("engine/test_confirmation.py::test_already_processed_is_looked_up_at_once",),
    ),
    Breakage(
        name="an answer that nobody knows is taken for nothing sent",
        promise=UNKNOWN,
        file="executors/replies.py",
        old="    return Reply(ReplyOutcome.UNKNOWN, reason)\n",
        new="    return Reply(ReplyOutcome.NOT_SENT, reason)\n",
        tests=(
            "executors/test_replies.py::test_no_error_answer_is_ever_taken_for_a_success_or_for_nothing_sent",
        ),
    ),
    Breakage(
        name="a failure at confirmed is taken for final",
        promise=PROOF_FIRST,
        file="domain/outcome.py",
        old="    return Verdict.FAILED if finalized else Verdict.FAILED_UNSETTLED\n",
        new="    return Verdict.FAILED\n",
        tests=("domain/test_outcome.py::test_what_is_confirmed_decides_alone",),
    ),
    Breakage(
        name="what is seen at processed is taken for landed",
        promise=FILLS,
        file="domain/outcome.py",
        old="        if status.commitment is not Commitment.PROCESSED:\n",
        new="        if status:\n",
        tests=("domain/test_outcome.py::test_what_is_only_processed_settles_nothing",),
    ),
    Breakage(
        name="a timer turns a doubt into a failure",
        promise=UNKNOWN,
        file="domain/outcome.py",
        old="    return Verdict.IN_DOUBT if past else Verdict.WAIT\n",
        new="    return Verdict.FAILED if overdue else Verdict.IN_DOUBT if past else Verdict.WAIT\n",
        tests=(
            "domain/test_outcome.py::test_without_a_sighting_a_proof_decides_and_nothing_else_ends",
        ),
    ),
    Breakage(
        name="an order that cannot be proved dead is ended past its life",
        promise=UNKNOWN,
        file="domain/changes.py",
        old="    _all_dead(view)\n    if status is OrderStatus.FILLED",
        new="    if status is OrderStatus.FILLED",
        tests=("domain/test_changes.py::test_nothing_ends_or_waits_before_its_attempts_are_dead",),
    ),
    Breakage(
        name="a cancellation ends an order beside a live attempt",
        promise=UNKNOWN,
        file="domain/retry.py",
        old="    order = view.order\n    if any(not",
        new="""\
    order = view.order
    if order.cancel_requested_at_us is not None:
        return End(OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED, "canceled as requested")
    if any(not""",
        tests=("domain/test_retry.py::test_the_next_step",),
    ),
    Breakage(
        name="pushed after a cancellation",
        promise=CANCEL,
        file="engine/confirmation.py",
        old="            and not held.cancel_requested\n",
        new="",
        tests=(
            "engine/test_pushes.py::test_after_a_cancellation_nothing_is_pushed_and_the_order_ends_canceled",
        ),
    ),
    Breakage(
        name="a retry is signed although the deadline has passed",
        promise=DEADLINE,
        file="domain/retry.py",
        old="    if now_us >= order.deadline_us:\n",
        new="    if now_us < 0:\n",
        tests=("domain/test_retry.py::test_the_next_step",),
    ),
    Breakage(
        name="the deadline is not judged again before the store",
        promise=DEADLINE,
        file="engine/lifecycle.py",
        old="        if held.out_of_time:\n",
        new="        if False:\n",
        tests=("engine/test_lifecycle.py::test_nothing_is_stored_after_the_deadline",),
    ),
    Breakage(
        name="pushed after the deadline",
        promise=DEADLINE,
        file="engine/confirmation.py",
        old="            and not held.out_of_time\n",
        new="",
        tests=("engine/test_pushes.py::test_after_the_deadline_nothing_is_pushed_only_watched",),
    ),
    Breakage(
        name="more attempts are signed than retries allow",
        promise=NEVER_TWICE,
        file="domain/retry.py",
        old="    if view.dead_attempts > policy.max_retries:\n",
        new="    if view.dead_attempts > 10 * policy.max_retries:\n",
        tests=("domain/test_retry.py::test_nothing_is_signed_unless_everything_allows_it",),
    ),
    Breakage(
        name="a fill is taken from the status, the transaction unread",
        promise=FILLS,
        file="engine/settlement.py",
        old="isinstance(landed, Unreachable) or landed.error is not None:\n",
        new="isinstance(landed, Unreachable):\n",
        tests=("engine/test_confirmation.py::test_a_status_alone_is_no_fill",),
    ),
    Breakage(
        name="a fork undoes a fill and nobody notices",
        promise=FILLS,
        file="engine/confirmation.py",
        old="        elif isinstance(status, Absent) and self._past(watched.attempt, heights):\n",
        new="        elif False:\n",
        tests=("engine/test_fills.py::test_a_fill_that_is_gone_for_good_is_taken_back",),
    ),
    Breakage(
        name="a fill that failed on the fork that stays is kept",
        promise=FILLS,
        file="engine/settlement.py",
        old="""\
        if seen.error is not None:
            return await self._failed_after_all(held, attempt)
""",
        new="",
        tests=(
            "engine/test_fills.py::test_a_fill_that_failed_on_the_fork_that_stays_is_taken_back",
        ),
    ),
    Breakage(
        name="the memo does not tell attempts apart",
        promise=NEVER_TWICE,
        file="domain/memo.py",
        old="/{self.number}/",
        new="/1/",
        tests=("domain/test_memo.py::test_a_memo_is_written_as_published",),
    ),
    Breakage(
        name="private bytes go through a lane that has become public",
        promise=PRIVATE,
        file="engine/transaction_executor.py",
        old="            and (not plan.private or self._is_private(lane.method))\n",
        new="",
        tests=(
            "engine/test_transaction_executor.py::test_private_bytes_stay_private_when_a_lane_has_become_public",
        ),
    ),
    Breakage(
        name="public lanes stand behind private ones whatever the order says",
        promise=PRIVATE,
        file="engine/transaction_executor.py",
        old="        allowed = private if wants_private and not public_fallback else known\n",
        new="        allowed = known\n",
        tests=(
            "engine/test_transaction_executor.py::test_public_methods_are_left_out_behind_a_private_one_when_forbidden",
        ),
    ),
    Breakage(
        name="a shutdown calls what is in flight failed",
        promise=UNKNOWN,
        file="engine/execution_engine.py",
        old="                await self._store.release(held.claimed)\n",
        new="""\
                await self._lifecycle._end(
                    held, OrderStatus.FAILED, ReasonCode.INTERNAL_ERROR, "shut down"
                )
""",
        tests=(
            "engine/test_execution_engine.py::test_an_end_does_not_wait_for_ever_and_gives_orders_back",
        ),
    ),
    Breakage(
        name="what a process holds unknowingly stays held",
        promise=LOST,
        file="engine/execution_engine.py",
        old="                self._checked = False  # an order",
        new="                self._checked = True  # an order",
        tests=(
            "engine/test_known_orders.py::test_an_order_whose_lease_only_seemed_lost_is_taken_up_again",
        ),
    ),
    Breakage(
        name="an operator's word counts before the height has passed",
        promise=PROOF_FIRST,
        file="domain/resolution.py",
        old="heights is not None and heights.block_height > last_valid_block_height\n",
        new="heights is not None and heights.block_height >= last_valid_block_height\n",
        tests=("domain/test_resolution.py::test_the_last_valid_height_itself_is_too_early",),
    ),
    Breakage(
        name="signed while trading is halted",
        promise="halted, nothing is signed",
        file="database/attempts.py",
        old="    if is_halted(conn):\n",
        new="    if False:\n",
        tests=(
            "database/test_trading.py::test_nothing_is_stored_to_be_sent_while_it_is_halted[sqlite]",
        ),
    ),
)

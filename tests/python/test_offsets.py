"""Offsets against a model that is slow and plainly right; and models of wrong ways, which must be found."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from penstock._core import Offsets


class OffsetsModel(RuleBasedStateMachine):
    """Delivers, settles, commits and revokes; after each step, nothing unsettled may be behind the position."""

    tracker = Offsets
    deliveries = Bundle("deliveries")

    def __init__(self):
        super().__init__()
        self.offsets = self.tracker(10)
        self.records = {}  # offset -> settled; of all that was ever delivered
        self.next = 10
        self.committed = 10
        self.revoked = False

    @rule(target=deliveries, gap=st.sampled_from([0, 0, 0, 1, 7]))
    def deliver(self, gap):
        offset = self.next + gap
        delivery = self.offsets.deliver(offset)
        self.records[offset] = False
        self.next = offset + 1
        return offset, delivery

    @precondition(lambda self: not self.revoked)
    @rule()
    def find_no_room(self):
        self.offsets.deliver(self.next)
        self.offsets.retract()

    @rule(settled=consumes(deliveries), again=st.booleans())
    def settle(self, settled, again):
        offset, delivery = settled
        assert self.offsets.settle(delivery) is not self.revoked
        if not self.revoked:
            self.records[offset] = True
        if again:
            assert self.offsets.settle(delivery) is False

    @rule(is_written=st.booleans())
    def commit(self, is_written):
        position = self.offsets.due()
        assert not (self.revoked and position is not None)
        if position is None:
            return
        assert position >= self.committed
        if is_written:
            self.committed = position
        else:
            self.offsets.not_written()

    @rule()
    def revoke(self):
        self.offsets.revoke()
        self.revoked = True

    @invariant()
    def nothing_unsettled_is_passed(self):
        for position in (self.committed, self.offsets.position):
            assert all(settled for offset, settled in self.records.items() if offset < position)

    @invariant()
    def what_is_settled_in_one_piece_is_passed(self):
        if self.revoked:
            return
        open_offsets = [offset for offset, settled in self.records.items() if not settled]
        expected = min(open_offsets) if open_offsets else max(self.records, default=9) + 1
        assert self.offsets.position == expected
        assert self.offsets.unsettled == len(open_offsets)


class Wrong:
    """A tracker as the right one, but for what a subclass does."""

    def __init__(self, start):
        self.right = Offsets(start)

    def __getattr__(self, name):
        return getattr(self.right, name)


class AckOnDispatch(Wrong):
    """Commits behind whatever was delivered last."""

    def __init__(self, start):
        super().__init__(start)
        self.position = start

    def deliver(self, offset):
        self.position = offset + 1
        return self.right.deliver(offset)


class HighestSettled(Wrong):
    """Commits behind whatever was settled last."""

    def __init__(self, start):
        super().__init__(start)
        self.position = start
        self.offset_of = {}

    def deliver(self, offset):
        delivery = self.right.deliver(offset)
        self.offset_of[delivery] = offset
        return delivery

    def settle(self, delivery):
        self.position = max(self.position, self.offset_of[delivery] + 1)
        return self.right.settle(delivery)


class CountsOffsets(Wrong):
    """Adds one for each that is settled, as if there were no gaps."""

    def __init__(self, start):
        super().__init__(start)
        self.position = start

    def settle(self, delivery):
        done = self.right.settle(delivery)
        self.position += int(done)
        return done


class NeverRevoked(Wrong):
    def revoke(self):
        pass


SETTINGS = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_offsets_do_what_the_model_does():
    run_state_machine_as_test(OffsetsModel, settings=SETTINGS)


@pytest.mark.parametrize("wrong", [AckOnDispatch, HighestSettled, CountsOffsets, NeverRevoked])
def test_the_model_finds_a_wrong_way(wrong):
    class Machine(OffsetsModel):
        tracker = wrong

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Machine, settings=settings(SETTINGS, phases=[Phase.generate], print_blob=False, database=None)
        )

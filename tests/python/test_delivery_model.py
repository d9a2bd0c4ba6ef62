"""Records through a real graph whose handlers end when the test says so, against a model of what may be committed."""

import asyncio
import time

import penstock
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from penstock._core import Offsets, Source
from penstock.event import DROPPED

HELD = {}  # what is under way: its name -> the future of its result


def twice(number):
    """Make two events of one."""
    return [f"{number} first", f"{number} second"]


async def hold(number):
    """Handle an event until the test ends it."""
    HELD[number] = asyncio.get_running_loop().create_future()
    return await HELD[number]


class Record:
    """A message as the client of a stream gives it."""

    def __init__(self, number):
        self.number = number

    def offset(self):
        return self.number

    def value(self):
        return str(self.number).encode()

    def key(self):
        return None


def unread(record, error):
    raise error


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.0005)


class DeliveryModel(RuleBasedStateMachine):
    """A record makes three events on two branches; they end well, filtered or failed, in any order."""

    def __init__(self):
        super().__init__()
        HELD.clear()
        fn = penstock.new_function("held")
        graph = fn.set_topology("flow")
        graph.to(name="start", handler="(event)")
        graph.add_step(name="one", handler="hold", after="start").concurrency(64)
        graph.add_step("storey.FlatMap", "twice", _fn="twice", after="start").to(name="two", handler="hold")
        self.server = fn.to_mock_server(namespace=globals())
        self.server.engine.start()
        self.source = Source(self.server.engine.core)
        self.offsets = self.make_offsets()
        self.next = 0
        self.left = {}  # offset -> the names of its events under way
        self.failed = set()
        self.buried = set()
        self.heard = {}

    def make_offsets(self):
        return Offsets(0)

    @precondition(lambda self: len(self.left) < 6)
    @rule(gap=st.sampled_from([0, 0, 3]))
    def admit(self, gap):
        offset = self.next + gap
        self.next = offset + 1
        assert self.source.admit_messages(self.offsets, [Record(offset)], bytes.decode, unread) == (1, [])
        self.left[offset] = {str(offset), f"{offset} first", f"{offset} second"}
        wait_for(lambda: self.left[offset] <= HELD.keys())

    @precondition(lambda self: self.left)
    @rule(data=st.data(), how=st.sampled_from(["well", "well", "filtered", "failed"]))
    def end(self, data, how):
        offset = data.draw(st.sampled_from(sorted(self.left)))
        name = data.draw(st.sampled_from(sorted(self.left[offset])))
        future = HELD.pop(name)
        if how == "failed":
            self.failed.add(offset)
            future.get_loop().call_soon_threadsafe(future.set_exception, ValueError(name))
        else:
            future.get_loop().call_soon_threadsafe(future.set_result, DROPPED if how == "filtered" else name)
        self.left[offset].discard(name)
        if not self.left[offset]:
            del self.left[offset]
        wait_for(lambda: self.source.in_flight == len(self.left))
        for origin, _, delivery, *_ in self.source.take_failed():
            assert origin.number not in self.heard
            self.heard[origin.number] = delivery

    @precondition(lambda self: self.heard.keys() - self.buried)
    @rule()
    def bury(self):
        offset = min(self.heard.keys() - self.buried)
        assert self.offsets.settle(self.heard[offset])
        self.buried.add(offset)

    @invariant()
    def failures_are_heard_of_when_all_of_the_record_has_ended(self):
        assert self.heard.keys() == self.failed - self.left.keys()

    @invariant()
    def the_position_passes_what_is_done_and_nothing_else(self):
        is_open = self.left.keys() | (self.failed - self.buried)
        assert self.offsets.unsettled == len(is_open)
        assert self.offsets.position == (min(is_open) if is_open else self.next)

    def teardown(self):
        for future in HELD.values():
            future.get_loop().call_soon_threadsafe(future.set_result, DROPPED)
        self.server.close()


SETTINGS = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_a_position_passes_a_record_when_all_that_was_made_of_it_has_ended():
    run_state_machine_as_test(DeliveryModel, settings=SETTINGS)


class AckOnDispatch(DeliveryModel):
    """The source is wrong: it settles a record when the graph has taken it."""

    def admit(self, gap):
        super().admit(gap)
        self.offsets.settle(len(self.heard) + self.next - 1)

    admit = rule(gap=st.just(0))(admit)


def test_the_model_finds_a_record_that_is_settled_when_it_is_taken():
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            AckOnDispatch, settings=settings(SETTINGS, phases=[Phase.generate], print_blob=False, database=None)
        )

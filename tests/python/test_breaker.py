"""What is known of a target: a breaker and a budget of retries against models, and against wrong ones."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from penstock.breaker import Breaker, RetryBudget

SETTINGS = settings(max_examples=200, stateful_step_count=40, deadline=None)


class BreakerModel(RuleBasedStateMachine):
    """Calls succeed, fail and are given up while time goes on; an open breaker lets one probe through at a time."""

    tested = Breaker

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.breaker = self.tested("t", threshold=3, seconds=10.0, clock=lambda: self.now)
        self.row = 0
        self.open_until = None
        self.is_probed = False
        self.under_way = 0

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def ask(self):
        wait = self.breaker.admit()
        may = self.open_until is None or (self.now >= self.open_until and not self.is_probed)
        assert (wait == 0.0) == may
        if may:
            self.under_way += 1
            self.is_probed = self.open_until is not None
        elif not self.is_probed:
            assert wait == self.open_until - self.now

    @precondition(lambda self: self.under_way)
    @rule()
    def succeed(self):
        self.breaker.succeed()
        self.under_way -= 1
        self.row, self.open_until, self.is_probed = 0, None, False

    @precondition(lambda self: self.under_way)
    @rule(asked=st.sampled_from([0.0, 20.0]))
    def fail(self, asked):
        self.breaker.fail(asked)
        self.under_way -= 1
        self.row += 1
        if self.row >= 3 and (self.open_until is None or self.is_probed):
            self.open_until, self.is_probed = self.now + max(10.0, asked), False

    @precondition(lambda self: self.under_way)
    @rule()
    def give_up(self):
        self.breaker.give_up()
        self.under_way -= 1
        self.is_probed = False

    @invariant()
    def it_is_open_as_long_as_nothing_succeeds(self):
        assert self.breaker.is_open == (self.open_until is not None)


def test_a_breaker_does_what_the_model_does():
    run_state_machine_as_test(BreakerModel, settings=SETTINGS)


class NeverOpens(Breaker):
    def fail(self, asked=0.0):
        pass


class ForgetsItsProbe(Breaker):
    def admit(self):
        wait = super().admit()
        self._is_probed = False
        return wait


class CountsAllFailures(Breaker):
    def succeed(self):
        failures = self._failures
        super().succeed()
        self._failures = failures


@pytest.mark.parametrize("wrong", [NeverOpens, ForgetsItsProbe, CountsAllFailures])
def test_the_model_finds_a_wrong_breaker(wrong):
    class Machine(BreakerModel):
        tested = wrong

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Machine, settings=settings(SETTINGS, phases=[Phase.generate], print_blob=False, database=None)
        )


class BudgetModel(RuleBasedStateMachine):
    """Calls come and go, some are tried again: never more at once than three, or a fifth of all."""

    def __init__(self):
        super().__init__()
        self.budget = RetryBudget()
        self.calls = self.retries = 0

    @rule(calls=st.sampled_from([1, 5, 40]))
    def call(self, calls):
        self.budget.calls += calls
        self.calls += calls

    @precondition(lambda self: self.calls > self.retries)
    @rule()
    def retry(self):
        granted = self.budget.take()
        assert granted == (self.retries < max(3, self.calls // 5))
        self.retries += granted

    @precondition(lambda self: self.retries)
    @rule()
    def end(self):
        self.budget.give_back()
        self.budget.calls -= 1
        self.retries -= 1
        self.calls -= 1

    @invariant()
    def retries_are_few(self):
        assert self.budget.retries == self.retries


def test_a_retry_budget_does_what_the_model_does():
    run_state_machine_as_test(BudgetModel, settings=SETTINGS)

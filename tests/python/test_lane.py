"""The lane over CPython, in short: handlers of every kind at once, called from Python and over HTTP.

The long form, with measurements, is bench/lane.py.
"""

import lane
import pytest


def test_every_call_is_answered_once_with_its_own_value():
    result = lane.mixed(seconds=3)
    assert result["wrong"] == []
    assert sum(result["lost"].values()) == 0
    assert sum(result["repeated"].values()) == 0
    assert all(result["asked"].values()), result["asked"]


@pytest.mark.parametrize("phase", [0.0, 0.07, 0.15, 0.3])
def test_the_interpreter_exits_cleanly_while_handlers_run(phase):
    code, said, seconds = lane.exit_while_busy(phase)
    assert (code, said) == (0, "")
    assert seconds < 20


@pytest.mark.parametrize("kind", ["sleep", "spin"])
def test_a_slow_step_does_not_hold_up_a_quick_one(kind):
    p99, count = lane.quick_beside(kind, 1.0)
    assert p99 < {"sleep": lane.SLEEP, "spin": lane.SPIN}[kind] / 2
    assert count > 100

"""Stacks as text: what is remembered of a stack changes nothing about what it says."""

import traceback

import pytest
from penstock.kafka import stacks
from penstock.kafka.stacks import stack_of


def refuse(number):
    if number > 2:
        refuse_deeper(number)
    raise ValueError(number)


def refuse_deeper(number):
    raise KeyError(number)


def chain(number):
    try:
        refuse(number)
    except ValueError as error:
        raise RuntimeError(number) from error


def recur(number):
    return recur(number + 1) if number < 50 else refuse(number)


def noted(number):
    error = ValueError(number)
    if hasattr(error, "add_note"):  # with Python 3.11
        error.add_note(f"of {number}")
    raise error


def error_of(call, number):
    with pytest.raises((ValueError, KeyError, RuntimeError, SyntaxError)) as caught:
        call(number)
    return caught.value


@pytest.mark.parametrize("call", [refuse, chain, recur, noted, lambda _: compile("1 +", "there", "exec")])
def test_a_stack_is_that_of_traceback_however_often_it_was_seen(call):
    for number in (1, 2, 3, 1, 2, 3):
        error = error_of(call, number)
        assert stack_of(error) == "".join(traceback.format_exception(error))


def test_no_more_stacks_are_remembered_than_a_few():
    for number in range(200):
        namespace = {}
        exec(f"def fail(_):\n    raise ValueError({number})", namespace)
        assert stack_of(error_of(namespace["fail"], 0)).endswith(f"ValueError: {number}\n")
    assert len(stacks._known) <= 64

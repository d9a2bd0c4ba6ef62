"""What failures say, and which status they have."""

import penstock
import pytest
from penstock import errors


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("MLRunUnauthorizedError", 401),
        ("MLRunAccessDeniedError", 403),
        ("MLRunNotFoundError", 404),
        ("MLRunBadRequestError", 400),
        ("MLRunMethodNotAllowedError", 405),
        ("MLRunUnprocessableEntityError", 422),
        ("MLRunInvalidArgumentError", 400),
        ("MLRunInvalidArgumentTypeError", 400),
        ("MLRunConflictError", 409),
        ("MLRunPreconditionFailedError", 412),
        ("MLRunInternalServerError", 500),
        ("MLRunNotImplementedServerError", 501),
        ("MLRunServiceUnavailableError", 503),
        ("MLRunRuntimeError", 500),
        ("MLRunTimeoutError", 504),
        ("MLRunModelLimitExceededError", 400),
    ],
)
def test_errors_of_mlrun_keep_their_names_and_codes(name, status):
    error = getattr(errors, name)("text")
    assert errors.describe(error) == (status, name, "text")
    assert error.error_status_code == status


def test_an_exception_of_the_user_is_500_with_its_name():
    assert errors.describe(KeyError("x")) == (500, "KeyError", "'x'")


def test_causes_are_told():
    error = RuntimeError("no number")
    error.__cause__ = ValueError("'a' is none")
    assert errors.text_of(error) == "no number, caused by: 'a' is none"


def test_an_exception_that_cannot_say_anything_is_still_described():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    assert errors.describe(Mute()) == (500, "Mute", "<no text>")


def test_a_long_text_is_cut():
    assert len(errors.describe(ValueError("x" * 100_000))[2]) == 32_000


def test_a_step_error_names_the_step_and_keeps_the_cause():
    cause = KeyError("x")
    error = errors.make_error("scale", 500, "KeyError", "'x'", cause)
    assert isinstance(error, errors.StepError)
    assert isinstance(error, RuntimeError)
    assert str(error) == "failed (500): KeyError: 'x'"
    assert (error.step, error.status_code, error.__cause__) == ("scale", 500, cause)


def test_the_cause_is_noted_once_with_the_step_it_was_raised_in():
    cause = KeyError("x")
    if not hasattr(cause, "add_note"):
        return
    for _ in range(2):
        errors.make_error("scale", 500, "KeyError", "'x'", cause)
    assert cause.__notes__ == ["in step 'scale'"]


def test_an_error_that_another_step_hands_on_names_the_step_it_is_from():
    def ensemble(body):
        cause = KeyError("x")
        errors.blame(cause, "m1")
        raise cause

    fn = penstock.new_function("blames")
    fn.set_topology("flow").to(ensemble).respond()
    with fn.to_mock_server() as server, pytest.raises(errors.StepError) as caught:
        server.test(body=1)
    assert caught.value.step == "m1"


def test_what_a_validate_refuses_is_400_with_its_own_name():
    error = TypeError("rows wanted")
    errors.refuse(error)
    assert errors.describe(error) == (400, "TypeError", "rows wanted")


@pytest.mark.parametrize(("kind", "expected"), [("QueueFull", errors.QueueFull), ("GraphClosed", errors.GraphClosed)])
def test_refusals_of_the_core_have_classes_of_their_own(kind, expected):
    error = errors.make_error("", 503, kind, "no room", None)
    assert type(error) is expected
    assert errors.describe(error)[0] == 503


def test_a_deadline_that_passed_is_a_timeout():
    error = errors.make_error("slow", 504, "", "took longer than 0.5 s", None)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, errors.StepError)
    assert error.step == "slow"


def test_a_step_error_of_an_inner_graph_is_not_wrapped_in_words_twice():
    inner = errors.make_error("scale", 500, "KeyError", "'x'", None)
    assert errors.describe(inner) == (500, "", "KeyError: 'x'")

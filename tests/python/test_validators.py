"""The validator step: what passes, what fails and how it is said, what is dropped."""

import json

import penstock
import pytest
from endpoint import endpoint, reply
from penstock import Event
from penstock.errors import GraphError, MLRunUnprocessableEntityError, StepError
from penstock.event import DROPPED
from penstock.validators import InvalidEvent, Validator

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "rows": {"items": {"type": "object", "properties": {"at": {"type": "string", "format": "date"}}}},
    },
    "required": ["n"],
}


def positive(body):
    return body > 0


def test_a_right_event_goes_on_as_it_came():
    body = {"n": 1, "rows": [{"at": "2024-05-01"}]}
    event = Event(body)
    assert Validator(SCHEMA).do_event(event) is event
    assert event.body is body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"n": -1}, "$.n: -1 is less than the minimum of 0"),
        ({}, "$: 'n' is a required property"),
        ({"n": 1, "rows": [{}, {"at": "today"}]}, "$.rows[1].at: 'today' is not a 'date'"),
        (7, "$: 7 is not of type 'object'"),
        (None, "$: None is not of type 'object'"),
    ],
)
def test_a_wrong_event_is_told_where_and_what_was_expected(body, text):
    with pytest.raises(InvalidEvent) as caught:
        Validator(SCHEMA).do_event(Event(body))
    assert (str(caught.value), caught.value.status_code) == (text, 400)


def test_several_faults_are_told_but_not_all_of_many():
    schema = {"items": {"type": "string"}}
    with pytest.raises(InvalidEvent) as caught:
        Validator(schema).do_event(Event(list(range(100))))
    assert str(caught.value).split("; ") == [f"$[{n}]: {n} is not of type 'string'" for n in range(5)]


def test_a_long_wrong_value_is_cut():
    with pytest.raises(InvalidEvent, match=r"^\$: 'x{100,}\.\.\. is not of type 'object'$") as caught:
        Validator(SCHEMA).do_event(Event("x" * 10_000))
    assert len(str(caught.value)) < 200


def test_the_schema_may_be_in_a_file(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    with pytest.raises(InvalidEvent, match="required"):
        Validator(str(path)).do_event(Event({}))


def test_a_schema_is_read_in_its_own_draft():
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}
    with pytest.raises(InvalidEvent, match="less than or equal to the minimum"):
        Validator(draft4).do_event(Event(1))


def test_a_schema_fetches_nothing_from_anywhere():
    with endpoint(lambda _: reply({"type": "integer"})) as target:
        step = Validator({"$ref": f"{target.url}/schema.json"})
        with pytest.raises(Exception, match="Unresolvable"):
            step.do_event(Event("text"))
    assert target.calls == []


@pytest.mark.parametrize("check", [positive, lambda body: None if body > 0 else False, "(event > 0)"])
def test_a_check_refuses_by_false_alone(check):
    step = Validator(check=check)
    event = Event(1)
    assert step.do_event(event) is event
    with pytest.raises(InvalidEvent, match="^the check .* refused it$"):
        step.do_event(Event(0))


def test_a_check_that_raises_says_why():
    with pytest.raises(InvalidEvent, match="^KeyError: 'n'$"):
        Validator(check="(event['n'] > 0)").do_event(Event({}))


def test_a_check_chooses_its_own_status():
    def check(body):
        raise MLRunUnprocessableEntityError("not like this")

    with pytest.raises(MLRunUnprocessableEntityError):
        Validator(check=check).do_event(Event(1))


def test_a_check_may_see_the_whole_event():
    step = Validator(check=lambda event: event.key == "k", full_event=True)
    assert step.do_event(Event(1, key="k")).key == "k"
    with pytest.raises(InvalidEvent):
        step.do_event(Event(1, key="other"))


def test_the_schema_comes_before_the_check():
    seen = []
    with pytest.raises(InvalidEvent, match="required"):
        Validator(SCHEMA, check=seen.append).do_event(Event({}))
    assert seen == []


def test_only_a_part_of_the_body_may_be_checked():
    step = Validator({"type": "integer"}, input_path="row.n")
    event = Event({"row": {"n": 1}, "other": "x"})
    assert step.do_event(event) is event
    with pytest.raises(InvalidEvent, match="None is not of type 'integer'"):
        step.do_event(Event({"row": {}}))


def test_a_dropped_event_is_logged_without_its_content(caplog):
    step = Validator({"properties": {"n": {"type": "integer"}}}, on_invalid="drop", name="v")
    assert step.do_event(Event({"n": "secret"}, event_id="7")) is DROPPED
    assert caplog.messages == ["step 'v' dropped event 7: $.n (type)"]
    step = Validator(check="(int(event) > 0)", on_invalid="drop", name="v")
    assert step.do_event(Event("secret", event_id="8")) is DROPPED
    assert caplog.messages[1:] == ["step 'v' dropped event 8: the check (int(event) > 0) raised ValueError"]


async def async_check(body):
    return True


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "step 'v': give schema= or check="),
        ({"check": positive, "on_invalid": "ignore"}, "on_invalid is 'fail' or 'drop', not 'ignore'"),
        ({"check": 7}, "check is a function or its name, not of type int"),
        ({"check": async_check}, "the check is an async function"),
        ({"check": "nowhere"}, "step 'v': there is no check 'nowhere'"),
        ({"check": "(event +)"}, "step 'v': the expression .* is not valid Python"),
        ({"schema": {"type": "integre"}}, r"step 'v': the schema is wrong at \$.type: 'integre' is not valid"),
        ({"schema": "no/such.json"}, "step 'v': there is no schema file no/such.json"),
    ],
)
def test_wrong_arguments_are_said_when_the_graph_is_made(arguments, text):
    with pytest.raises(GraphError, match=text):
        Validator(**arguments, name="v")


def test_a_schema_file_that_is_no_json_is_said(tmp_path):
    (tmp_path / "schema.json").write_text("{")
    with pytest.raises(GraphError, match="is no JSON: Expecting"):
        Validator(str(tmp_path / "schema.json"), name="v")


def test_without_jsonschema_the_extra_is_named(run_python):
    run_python(
        """
import sys
sys.modules["jsonschema"] = None
from penstock.errors import MissingExtra
from penstock.validators import Validator
Validator(check="(event > 0)")  # needs nothing
try:
    Validator({}, name="v")
except MissingExtra as error:
    assert str(error) == "step 'v' with a schema needs the package 'jsonschema': pip install \\"penstock[validate]\\""
else:
    raise SystemExit(1)
"""
    )


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_in_a_graph_the_caller_is_at_fault_and_the_step_is_named(engine):
    fn = penstock.new_function("checked")
    graph = fn.set_topology("flow", engine=engine)
    step = graph.to("Validator", "check", schema=SCHEMA).to("Validator", "name", check="positive", input_path="n")
    step = step.to("(event['n'] + 1)", "add")
    if engine == "async":
        step.respond()
    with fn.to_mock_server(namespace=globals()) as server:
        assert server.test(body={"n": 1}) == 2
        with pytest.raises(StepError) as caught:
            server.test(body={"n": -1})
        assert str(caught.value) == "failed (400): ValueError: $.n: -1 is less than the minimum of 0"
        assert (caught.value.step, caught.value.status_code) == ("check", 400)
        with pytest.raises(StepError, match="failed .400.: ValueError: the check .*positive refused it") as caught:
            server.test(body={"n": 0})
        assert caught.value.step == "name"


def test_in_a_graph_a_dropped_event_is_answered_by_none():
    fn = penstock.new_function("checked")
    graph = fn.set_topology("flow")
    graph.to("Validator", check="(event > 0)", on_invalid="drop").to("(event + 1)", name="add").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1) == 2
        assert server.test(body=-1) is None

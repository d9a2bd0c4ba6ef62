"""From names to objects."""

import json
import types

import penstock
import pytest
from penstock.errors import GraphError, NameNotFound, StepNotReady
from penstock.resolve import Resolver, expression, make_object, with_context


class Echo:
    def __init__(self, context, name, some_arg=0, **rest):
        self.context, self.name, self.some_arg, self.rest = context, name, some_arg, rest


class Narrow:
    def __init__(self, limit=0):
        self.limit = limit


def local_handler(body):
    return body


def test_a_namespace_is_searched_before_a_dotted_path():
    module = types.SimpleNamespace(thing=1)
    assert Resolver({"thing": 2}, module).find("thing") == 2
    assert Resolver(None, module).find("thing") == 1
    assert Resolver().find("json.dumps") is json.dumps


def test_a_dotted_path_may_start_in_a_namespace():
    assert Resolver(globals()).find("json.dumps") is json.dumps
    assert Resolver({"Echo": Echo}).find("Echo.__init__") is Echo.__init__


@pytest.mark.parametrize(
    "name", ["mlrun.serving.V2ModelServer", "mlrun.V2ModelServer", "penstock.serving.V2ModelServer"]
)
def test_names_of_mlrun_mean_the_class_of_penstock(name):
    assert Resolver().find(name) is penstock.V2ModelServer


def test_a_bare_name_of_penstock_is_found_last():
    assert Resolver().find("VotingEnsemble") is penstock.VotingEnsemble
    assert Resolver({"VotingEnsemble": Echo}).find("VotingEnsemble") is Echo


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Ecko", "did you mean 'Echo'"),
        ("json.dumpz", "did you mean 'dump' or 'dumps'"),
        ("mlrun.serving.VotingEnsembl", "did you mean 'VotingEnsemble'"),
        ("V2ModelServr", "did you mean 'V2ModelServer'"),
        ("no_such_module.Thing", "no module 'no_such_module'"),
    ],
)
def test_a_name_that_leads_nowhere_comes_with_the_nearest(name, hint):
    with pytest.raises(NameNotFound, match=hint):
        Resolver(globals()).find(name)


def test_a_module_that_misses_one_of_its_own_says_which(tmp_path, monkeypatch):
    (tmp_path / "needs_other.py").write_text("import a_module_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NameNotFound, match="needs the module 'a_module_that_is_missing'"):
        Resolver().find("needs_other.Thing")


def test_an_expression_is_a_function_of_event_and_sees_nothing_else():
    assert expression("(event + 1)")(2) == 3
    assert expression('({"tag": "something"})')(None) == {"tag": "something"}
    with pytest.raises(NameError):
        expression("(local_handler)")(1)


def test_a_wrong_expression_is_found_when_the_step_is_added():
    flow = penstock.new_function("f").set_topology("flow")
    with pytest.raises(GraphError, match=r"the expression \(event \+\) is not valid Python"):
        flow.to("(event +)")
    with pytest.raises(GraphError, match="step 'f'"):
        flow.to("storey.Filter", "f", _fn="(event >)")


def test_class_arguments_with_an_underscore_are_functions_and_lose_it():
    arguments = Resolver(globals()).class_args({"_fn": "(event * 2)", "_key": "local_handler", "other": "(text)"})
    assert (arguments["fn"](2), arguments["key"], arguments["other"]) == (4, local_handler, "(text)")


def test_a_constructor_gets_what_it_takes_of_context_and_name():
    made = make_object(Echo, {"some_arg": 1}, {"context": "c", "name": "n", "full_event": None}, "n")
    assert (made.context, made.name, made.some_arg, made.rest) == ("c", "n", 1, {})
    assert make_object(Narrow, {"limit": 2}, {"context": "c", "name": "n"}, "n").limit == 2


def test_a_misspelt_argument_comes_with_the_nearest():
    with pytest.raises(StepNotReady, match="step 'n': Narrow takes no argument 'limt'; did you mean 'limit'"):
        make_object(Narrow, {"limt": 2}, {}, "n")


def test_a_constructor_that_fails_names_the_step_and_keeps_the_cause():
    class Broken:
        def __init__(self):
            raise KeyError("x")

    with pytest.raises(StepNotReady, match="step 'n': Broken.* failed: KeyError: 'x'") as caught:
        make_object(Broken, {}, {}, "n")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_gets_the_context_wherever_it_takes_it():
    assert with_context(lambda body, context: (body, context), "c")(1) == (1, "c")
    assert with_context(lambda context, body: (body, context), "c")(1) == (1, "c")
    assert with_context(json.dumps, "c") is json.dumps

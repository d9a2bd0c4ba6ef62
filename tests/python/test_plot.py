"""Pictures of graphs: what they show, that nothing overlaps, which formats need what."""

import itertools
import re
import shutil
import sys
import xml.etree.ElementTree as ET

import penstock
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.cli import main
from penstock.errors import GraphError, MissingExtra
from penstock.flow import FlowStep
from penstock.graph import RootFlowStep
from penstock.plotting.layout import lay_out
from penstock.plotting.scene import MOST_ROUTES
from penstock.steps import RouterStep

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph():
    """The advanced flow of the guide: ensemble, catcher, responder."""
    graph = RootFlowStep()
    graph.to("storey.Extend", name="enrich", _fn="({})").to("Echo", name="pre-process").error_handler("catcher")
    router = graph.add_step("*mlrun.serving.VotingEnsemble", name="ensemble", after="pre-process")
    router.add_route("m1", class_name="Model")
    router.add_route("m2", class_name="Model")
    graph.add_step("Echo", name="final", after="ensemble").respond()
    graph.add_step(handler="error_catcher", name="catcher", full_event=True, after="")
    return graph


def functions_and_queues():
    graph = RootFlowStep()
    first = graph.to("(event)", name="first").to(">>", "q1", path="kafka://me:secret@host/topic")
    first.to("(event)", name="second", function="enrich").to("(event)", name="third", function="enrich")
    graph.add_step("(event)", name="fourth", after="third", function="other")
    return graph


def drawn(graph, **options):
    return ET.fromstring(str(graph.plot(format="svg", **options)))


def nodes(svg):
    """Return the box of each step, by name: left, top, right, bottom, as its outline has them."""
    boxes = {}
    for group in svg.iter(f"{SVG}g"):
        if "data-step" not in group.attrib:
            continue
        outline = next(item for item in group if "ps-rim" in item.get("class", "") or "ps-box" in item.get("class", ""))
        if outline.tag == f"{SVG}rect":
            left, top, width, height = (float(outline.get(key)) for key in ("x", "y", "width", "height"))
        else:  # a queue: M left+8 top H right-8 ... bottom
            found = re.match(r"M([\d.]+) ([\d.]+)H([\d.]+)A[\d.]+ [\d.]+ 0 0 1 [\d.]+ ([\d.]+)", outline.get("d"))
            left, top, right, bottom = (float(number) for number in found.groups())
            left, width, height = left - 8, right - left + 16, bottom - top
        boxes[group.get("data-step")] = (left, top, left + width, top + height)
    return boxes


def edges(svg):
    return {
        (group.get("data-from"), group.get("data-to"), group.get("class").removeprefix("ps-edge ps-"))
        for group in svg.iter(f"{SVG}g")
        if "data-from" in group.attrib
    }


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(inner, outer):
    return inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]


def group_of(svg, step):
    return next(group for group in svg.iter(f"{SVG}g") if group.get("data-step") == step)


def test_every_step_and_edge_is_drawn(graph):
    svg = drawn(graph)
    assert set(nodes(svg)) == {"enrich", "pre-process", "ensemble", "ensemble/m1", "ensemble/m2", "final", "catcher"}
    assert edges(svg) == {
        ("", "enrich", "flow"),
        ("enrich", "pre-process", "flow"),
        ("pre-process", "ensemble", "flow"),
        ("pre-process", "catcher", "error"),
        ("ensemble", "final", "flow"),
    }


def test_routes_are_inside_their_router_and_nothing_else_overlaps(graph):
    boxes = nodes(drawn(graph))
    routes = {name: boxes.pop(name) for name in ("ensemble/m1", "ensemble/m2")}
    assert all(inside(route, boxes["ensemble"]) for route in routes.values())
    assert not overlap(*routes.values())
    assert not any(overlap(one, other) for one, other in itertools.combinations(boxes.values(), 2))


def test_steps_are_below_what_they_follow_or_right_of_it(graph):
    down, right = nodes(drawn(graph)), nodes(drawn(graph, rankdir="LR"))
    for tail, head, _ in edges(drawn(graph)) - {("", "enrich", "flow")}:
        assert down[tail][3] < down[head][1]
        assert right[tail][2] < right[head][0]


def tip_and_back(svg, tail, head):
    """Return where an arrow's tip is, and where its other corners are."""
    group = next(item for item in svg.iter(f"{SVG}g") if (item.get("data-from"), item.get("data-to")) == (tail, head))
    corners = group.find(f"{SVG}polygon").get("points").split()
    return [tuple(float(number) for number in corner.split(",")) for corner in corners]


def test_arrows_point_at_the_step_that_follows():
    fn = penstock.new_function("arrows")
    graph = fn.set_topology("flow", allow_cyclic=True)
    graph.to("(event)", name="a").to("(event)", name="b", input_path="x").cycle_to("a")
    graph.add_step("*", name="tall", after="").add_route("m", class_name="Model")
    svg = drawn(graph)
    boxes = nodes(svg)
    tip, *corners = tip_and_back(svg, "a", "b")
    assert tip[1] == pytest.approx(boxes["b"][1], abs=0.11)
    assert all(y < tip[1] for _, y in corners)
    tip, *corners = tip_and_back(svg, "b", "a")
    assert tip[1] == pytest.approx(boxes["a"][3], abs=0.11)
    assert all(y > tip[1] for _, y in corners)


def test_the_responder_has_a_double_border_and_the_catcher_a_class_of_its_own(graph):
    svg = drawn(graph)
    kinds = [item.get("class") for item in group_of(svg, "final")]
    assert {"ps-rim", "ps-box"} <= set(kinds)
    assert "ps-rim" not in [item.get("class") for item in group_of(svg, "enrich")]
    assert "ps-catcher" in group_of(svg, "catcher").get("class")


def test_error_edges_are_dashed_in_every_format(graph):
    style = next(drawn(graph).iter(f"{SVG}style")).text
    assert re.search(r"\.ps-error \.ps-line\{[^}]*stroke-dasharray", style)
    assert re.search(r"n2 -\.-> n\d", str(graph.plot(format="mermaid")))
    assert '"pre-process" -> "catcher" [style="dashed"]' in str(graph.plot(format="dot"))


def test_the_catcher_of_the_whole_graph_hangs_at_the_start():
    graph = RootFlowStep()
    graph.to("(event)", name="a").respond()
    graph.error_handler("oops", handler="catch")
    assert ("", "oops", "error") in edges(drawn(graph))


def test_a_queue_is_a_pipe_and_shows_no_password():
    text = str(functions_and_queues().plot(format="svg"))
    assert "kafka://host/topic" in text
    assert "secret" not in text
    assert "q1" in nodes(ET.fromstring(text))
    assert 'shape="cds"' in str(functions_and_queues().plot(format="dot"))
    assert '[("q1' in str(functions_and_queues().plot(format="mermaid"))


def test_child_functions_are_tinted_and_named_in_a_legend():
    svg = drawn(functions_and_queues())
    assert "ps-f0" in group_of(svg, "second").get("class").split()
    assert "ps-f0" in group_of(svg, "third").get("class").split()
    assert "ps-f1" in group_of(svg, "fourth").get("class").split()
    assert "ps-f" not in group_of(svg, "first").get("class")
    legend = [text.text for text in svg.iter(f"{SVG}text") if text.get("class") == "ps-key"]
    assert legend == ["function enrich", "function other"]
    assert "class n3,n4 f0" in str(functions_and_queues().plot(format="mermaid"))


def test_a_graph_without_functions_has_no_legend(graph):
    assert not [text for text in drawn(graph).iter(f"{SVG}text") if text.get("class") == "ps-key"]


def test_a_router_topology_is_one_box_with_its_models():
    fn = penstock.new_function("models")
    fn.add_model("m1", class_name="Model", model_path="m")
    svg = drawn(fn.spec.graph)
    assert edges(svg) == {("", "router", "flow")}
    assert inside(nodes(svg)["router/m1"], nodes(svg)["router"])


def test_a_router_of_many_models_says_how_many_it_left_out():
    router = RouterStep("many")
    for number in range(MOST_ROUTES + 6):
        router.add_route(f"m{number}", class_name="Model")
    assert "and 6 more" in str(router.plot(format="svg"))
    assert len(nodes(drawn(router))) == MOST_ROUTES + 1


def test_a_model_runner_is_a_folder_with_its_models():
    step = penstock.serving.ModelRunnerStep(name="runner")
    step.add_model("one", model_class="Model", execution_mechanism="naive")
    step.add_model("two", model_class="Model", execution_mechanism="naive")
    graph = RootFlowStep()
    graph.to(step).respond()
    boxes = nodes(drawn(graph))
    assert inside(boxes["runner/one"], boxes["runner"])
    assert inside(boxes["runner/two"], boxes["runner"])
    assert '"runner" [label="runner\\n2 models" shape="folder"' in str(graph.plot(format="dot"))


def test_in_a_sync_flow_the_last_step_answers():
    graph = RootFlowStep("sync")
    graph.to("(event)", name="a").to("(event)", name="b")
    svg = drawn(graph)
    assert "ps-responder" in group_of(svg, "b").get("class")
    assert "ps-responder" not in group_of(svg, "a").get("class")


def test_loops_and_steps_that_repeat_themselves_are_drawn():
    fn = penstock.new_function("loops")
    graph = fn.set_topology("flow", allow_cyclic=True)
    graph.to("(event)", name="a").to("(event)", name="b").cycle_to("a").cycle_to("b")
    svg = drawn(graph)
    assert {("b", "a", "cycle"), ("b", "b", "cycle")} <= edges(svg)
    assert "n2 -->|again| n1" in str(graph.plot(format="mermaid"))


def test_a_flow_inside_a_flow_is_a_box_around_its_steps():
    graph, inner = RootFlowStep(), FlowStep("inner")
    inner.to("(event)", name="x").to("(event)", name="y")
    graph.to("(event)", name="a").to(inner)
    svg = drawn(graph)
    boxes = nodes(svg)
    assert edges(svg) == {("", "a", "flow"), ("a", "inner", "flow"), ("inner/x", "inner/y", "flow")}
    assert inside(boxes["inner/x"], boxes["inner"])
    assert inside(boxes["inner/y"], boxes["inner"])


def test_source_and_targets_are_shown(graph):
    text = str(graph.plot(format="mermaid", source="kafka", targets=["parquet"]))
    assert 'n0(["kafka"])' in text
    assert re.search(r'n\d+\(\["parquet"\]\)', text)
    lines = text.splitlines()
    target = next(line.split("(")[0].strip() for line in lines if "parquet" in line)
    final = next(line.split("[")[0].strip() for line in lines if '"final<' in line)
    assert f"  {final} --> {target}" in lines


@pytest.mark.parametrize("name", ["<b>&'\"", 'say "hi"', "a\\N", "合流", "x" * 200, "a\nb", "bell \x07"])
def test_names_cannot_break_a_picture(name):
    graph = RootFlowStep()
    graph.to("(event)", name=name).respond()
    assert len(nodes(drawn(graph))) == 1
    mermaid = str(graph.plot(format="mermaid")).splitlines()
    assert mermaid[2].startswith("  n1[[")
    assert mermaid[2].endswith("]]")
    assert len(mermaid) == 4
    assert mermaid[2].count('"') == 2
    dot = str(graph.plot(format="dot"))
    assert re.search(r'^  "\$start" -> "(?:[^"\\]|\\.)*"$', dot, re.MULTILINE)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_graph_boxes_do_not_overlap_and_edges_keep_clear_of_them(data):
    count = data.draw(st.integers(1, 14))
    names = [f"s{number}" for number in range(count)]
    sizes = {name: (data.draw(st.integers(10, 200)), data.draw(st.integers(10, 120))) for name in names}
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), unique=True, max_size=30))
    layout = lay_out(sizes, pairs)
    boxes = {
        name: (x - sizes[name][0] / 2, y - sizes[name][1] / 2, x + sizes[name][0] / 2, y + sizes[name][1] / 2)
        for name, (x, y) in layout.centres.items()
    }
    assert not any(overlap(one, other) for one, other in itertools.combinations(boxes.values(), 2))
    assert all(box[0] >= -0.01 and box[2] <= layout.width + 0.01 for box in boxes.values())
    assert all(box[1] >= -0.01 and box[3] <= layout.height + 0.01 for box in boxes.values())
    for (tail, head), path in zip(pairs, layout.paths, strict=True):
        if tail == head:
            assert path == []
            continue
        for box, (x, y) in ((boxes[tail], path[0]), (boxes[head], path[-1])):
            assert box[0] < x < box[2]
            assert y in {box[1], box[3]}
        for (x, one), (other_x, other) in zip(path[0::2], path[1::2], strict=True):  # lines, beside boxes
            assert x == other_x
            lane = (x - 0.5, min(one, other) + 0.01, x + 0.5, max(one, other) - 0.01)
            assert not any(overlap(lane, box) for box in boxes.values())
        for (_, one), (_, other) in zip(path[1:-1:2], path[2:-1:2], strict=True):  # curves, between the layers
            across = (-1, min(one, other) + 0.01, layout.width + 1, max(one, other) - 0.01)
            assert not any(overlap(across, box) for box in boxes.values())


def test_the_file_is_written_and_its_suffix_says_the_format(graph, tmp_path):
    for name, start in (("g.svg", "<svg"), ("g.mmd", "flowchart TB"), ("g.dot", "digraph"), ("g", "<svg")):
        drawing = graph.plot(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
        assert str(drawing) == (tmp_path / name).read_text(encoding="utf-8")
    graph.plot(str(tmp_path / "other.txt"), format="mermaid")
    assert (tmp_path / "other.txt").read_text().startswith("flowchart")


def test_a_format_that_is_none_is_refused(graph):
    with pytest.raises(GraphError, match="there is no format 'svgg'.*svg"):
        graph.plot("graph.svgg")


def test_graphviz_gets_the_same_graph_as_a_digraph(graph):
    digraph = graph.plot(format="png")
    assert type(digraph).__name__ == "Digraph"
    assert digraph.source == str(graph.plot(format="dot"))
    assert '"ensemble" [label="ensemble\\nVotingEnsemble" shape="doubleoctagon" style="filled"]' in digraph.source
    assert 'subgraph "cluster_ensemble"' in digraph.source
    assert '"final" [label="final\\nEcho" peripheries="2"]' in digraph.source


def test_attributes_reach_graphviz(graph):
    assert '  rankdir="LR"\n' in graph.plot(format="pdf", rankdir="LR").source


def test_png_is_drawn_by_dot_or_says_what_is_missing(graph, tmp_path, monkeypatch):
    if shutil.which("dot"):
        graph.plot(tmp_path / "graph.png")
        assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtra, match=r"format png needs Graphviz' program 'dot'.*svg and mermaid need nothing"):
        graph.plot(tmp_path / "none.png")
    assert graph.plot().format == "svg"  # without dot, the picture that needs nothing


def test_without_the_package_the_extra_is_named(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(MissingExtra, match=r"format png .*pip install \"penstock\[plot\]\""):
        graph.plot("graph.png")


def test_a_notebook_shows_the_graph(graph):
    ET.fromstring(graph._repr_svg_())
    assert graph._repr_svg_() in graph._repr_html_()
    assert graph.plot(format="mermaid")._repr_svg_() == graph._repr_svg_()
    assert not hasattr(graph["enrich"], "_repr_svg_")  # a step is no graph


def test_the_picture_stands_on_its_own_and_is_the_same_every_time(graph):
    text = str(graph.plot(format="svg"))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in text
    assert text == str(graph.plot(format="svg"))


def test_a_graph_that_is_not_drawn_loads_nothing_for_it(run_python):
    run_python(
        "import sys, penstock.graph\n"
        "loaded = [name for name in sys.modules if name.startswith('penstock.plotting.')]\n"
        "assert not loaded, loaded"
    )


FILE = """
import penstock
fn = penstock.new_function("doubles")
fn.set_topology("flow").to(lambda body: 2 * body, name="double").respond()
"""


def command(*arguments):
    result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "plotted_file.py"
    file.write_text(FILE)
    yield file
    sys.modules.pop("plotted_file", None)


def test_penstock_plot_writes_the_file(target, tmp_path):
    assert command(target, "-o", tmp_path / "graph.svg").exit_code == 0
    assert list(nodes(ET.parse(tmp_path / "graph.svg").getroot())) == ["double"]


def test_penstock_plot_prints_without_a_file(target):
    assert command(target, "--format", "mermaid").output.startswith("flowchart TB\n")
    assert command(target, "--format", "mermaid", "--direction", "LR").output.startswith("flowchart LR\n")
    assert command(target).output.startswith("<svg")


def test_penstock_plot_says_what_is_wrong(target, tmp_path):
    assert command(tmp_path / "none.py").exit_code == 2
    assert command(target, "--format", "png").exit_code == 2
    nowhere = command(target, "-o", tmp_path / "no folder" / "graph.svg")
    assert (nowhere.exit_code, "No such file" in nowhere.output) == (1, True)
    wrong = command(target, "-o", tmp_path / "graph.xyz")
    assert (wrong.exit_code, "there is no format 'xyz'" in wrong.output) == (1, True)
    target.write_text('import penstock\nfn = penstock.new_function("empty")\n')
    empty = command(target)
    assert (empty.exit_code, "there is no graph to draw" in empty.output) == (1, True)

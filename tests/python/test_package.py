"""What the installed package brings, and what importing it loads."""

import importlib.metadata
import importlib.resources

import penstock
import stub


def test_the_package_ships_its_types():
    files = importlib.resources.files(penstock)
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("_core.pyi").is_file()


def test_the_checked_in_stub_describes_the_extension():
    assert stub.PATH.read_text() == stub.generate(), "run ./dev stub and commit the result"


def test_the_version_of_the_package_is_that_of_its_metadata():
    assert penstock.__version__ == importlib.metadata.version("penstock")


def test_the_command_is_installed():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="penstock")
    assert callable(script.load())


def test_importing_the_package_loads_no_engine_and_no_extra(run_python):
    heavy = {"penstock._core", "pandas", "storey", "sklearn", "confluent_kafka", "opentelemetry", "graphviz"}
    loaded = run_python(f"import sys, penstock; print(*sorted({heavy!r} & set(sys.modules)))").stdout.split()
    assert loaded == []


def test_building_a_graph_loads_no_engine(run_python):
    run_python(
        "import sys, penstock\n"
        "graph = penstock.new_function('f').set_topology('flow', engine='async')\n"
        "graph.to(name='twice', handler=lambda x: 2 * x).respond()\n"
        "graph.to_dict()\n"
        "assert 'penstock._core' not in sys.modules"
    )

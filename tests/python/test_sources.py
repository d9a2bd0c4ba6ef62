"""Sources: every kind gives its rows as events, and feeds a graph in order, bounded, and to the end."""

import itertools
import sqlite3
import threading
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import penstock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from penstock import Event
from penstock.errors import BadBody, GraphClosed, GraphError, StepError
from penstock.feeding import feed
from penstock.sources import CSVSource, DataframeSource, ParquetSource, Source, SQLSource

ROWS = [{"who": "ann", "n": 1}, {"who": "bob", "n": 2}, {"who": None, "n": 3}, {"who": "ann", "n": 4}]


def bodies(source):
    return [event.body for event in source]


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture
def table(tmp_path):
    """ROWS in each form: the source of that name over them."""

    def csv_source(**fields):
        lines = "".join(f"{row['who'] or ''},{row['n']}\n" for row in ROWS)
        path = write(tmp_path / "rows.csv", "who,n\n" + lines)
        return CSVSource(path, header=True, build_dict=True, **fields)

    def parquet_source(**fields):
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
        return ParquetSource(str(tmp_path / "rows.parquet"), **fields)

    def dataframe_source(**fields):
        return DataframeSource(pd.DataFrame(ROWS), **fields)

    def sql_source(**fields):
        connection = sqlite3.connect(tmp_path / "rows.db")
        connection.execute("create table rows (who text, n integer)")
        connection.executemany("insert into rows values (:who, :n)", ROWS)
        connection.commit()
        connection.close()
        return SQLSource(f"sqlite:///{tmp_path / 'rows.db'}", "rows", **fields)

    return {"csv": csv_source, "parquet": parquet_source, "dataframe": dataframe_source, "sql": sql_source}


KINDS = pytest.mark.parametrize("kind", ["csv", "parquet", "dataframe", "sql"])


@KINDS
def test_each_row_is_an_event(kind, table):
    source = table[kind]()
    assert [(body["who"] if isinstance(body["who"], str) else None, body["n"]) for body in bodies(source)] == [
        (row["who"], row["n"]) for row in ROWS
    ]
    assert len(bodies(source)) == len(ROWS)  # it can be read again


@KINDS
def test_key_and_id_come_from_columns_and_rows_without_a_key_are_counted(kind, table, caplog):
    source = table[kind](key_field="who", id_field="n")
    assert [(event.key, event.id) for event in source] == [("ann", "1"), ("bob", "2"), ("ann", "4")]
    assert source.skipped == 1
    assert caplog.messages == [f"a row of {type(source).__name__} has no key, it is left out"]


@KINDS
def test_a_key_may_have_several_columns(kind, table):
    assert [event.key for event in table[kind](key_field=["who", "n"])] == [("ann", 1), ("bob", 2), ("ann", 4)]


@KINDS
def test_a_column_that_is_not_there_is_said_with_the_nearest(kind, table):
    with pytest.raises(GraphError, match=r"no column 'whom'; did you mean 'who'\?; there are who, n"):
        bodies(table[kind](key_field="whom"))


def test_csv_without_a_header_gives_lists_and_columns_by_number(tmp_path):
    path = write(tmp_path / "a.csv", "1,x\n\n2,y\n")
    source = CSVSource(path, key_field=1, id_field=0)
    assert [(event.body, event.key, event.id) for event in source] == [([1, "x"], "x", "1"), ([2, "y"], "y", "2")]


def test_csv_with_a_header_may_still_give_lists(tmp_path):
    path = write(tmp_path / "a.csv", "n,who\n1,x\n")
    assert [(event.body, event.key) for event in CSVSource(path, header=True, key_field="who")] == [([1, "x"], "x")]


def test_csv_cells_become_what_they_look_like_or_stay_text(tmp_path):
    path = write(tmp_path / "a.csv", '1,-2.5,true,,007,"a,b",1e3\n')
    assert bodies(CSVSource(path)) == [[1, -2.5, True, None, "007", "a,b", 1000.0]]
    assert bodies(CSVSource(path, type_inference=False)) == [["1", "-2.5", "true", "", "007", "a,b", "1e3"]]


def test_csv_files_follow_one_another_each_with_its_header(tmp_path):
    paths = [write(tmp_path / "a.csv", "n,m\n1,2\n"), write(tmp_path / "b.csv", "\ufeffm,n\n3,4\n")]
    assert bodies(CSVSource(paths, header=True, build_dict=True)) == [{"n": 1, "m": 2}, {"m": 3, "n": 4}]


def test_csv_comes_from_any_place_that_fsspec_reads(tmp_path):
    import fsspec

    with fsspec.open("memory://sources/a.csv", "wb") as file:
        file.write(b"1,2\n")
    assert bodies(CSVSource("memory://sources/a.csv")) == [[1, 2]]


def test_csv_times_are_read_for_the_event_and_the_body(tmp_path):
    path = write(tmp_path / "a.csv", "at,seen,n\n2024-05-01T10:00:00Z,2024-05-02,1\n,,2\n")
    source = CSVSource(path, header=True, build_dict=True, time_field="at", parse_dates="seen")
    first, second = source
    at = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
    assert first.time == at
    assert first.body == {"at": at, "seen": datetime(2024, 5, 2), "n": 1}
    assert second.body == {"at": None, "seen": None, "n": 2}
    assert second.time > at  # the time it came


def test_csv_times_have_the_format_given(tmp_path):
    path = write(tmp_path / "a.csv", "1/5/24\n")
    source = CSVSource(path, time_field=0, timestamp_format="%d/%m/%y")
    assert [event.time for event in source] == [datetime(2024, 5, 1)]


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("1,2\n1\n", {}, BadBody, "a.csv, line 2: 1 cells instead of 2"),
        ("a,b\n1\n", {"header": True}, BadBody, "line 2: 1 cells instead of 2"),
        ("x\n", {"time_field": 0}, BadBody, "column 0 is no time: Invalid isoformat"),
        ("x\n", {"key_field": 7}, GraphError, "no column 7; there are 0"),
        ("x\n", {"parse_dates": 7}, GraphError, "no column 7"),
        ("x\n", {"build_dict": True}, GraphError, "build_dict=True needs header=True"),
    ],
)
def test_csv_says_what_is_wrong_and_where(text, options, error, says, tmp_path):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(error, match=says):
        bodies(CSVSource(path, **options))


@pytest.mark.parametrize("source", [CSVSource, ParquetSource])
def test_a_missing_file_is_named(source, tmp_path):
    with pytest.raises(GraphError, match="there is no file.*nothing.x"):
        bodies(source(str(tmp_path / "nothing.x")))


@pytest.fixture
def days(tmp_path):
    """Write ten rows, a day each, into a partitioned directory."""
    first = datetime(2024, 5, 1, tzinfo=timezone.utc)
    rows = [{"at": first + timedelta(days=n), "n": n, "kind": "ab"[n % 2]} for n in range(10)]
    pq.write_to_dataset(pa.Table.from_pylist(rows), tmp_path / "days", partition_cols=["kind"])
    return str(tmp_path / "days"), first


def test_parquet_reads_directories_and_their_partitions(days):
    path, first = days
    source = ParquetSource(path, time_field="at", id_field="n")
    events = sorted(source, key=lambda event: int(event.id))
    assert [event.body["n"] for event in events] == list(range(10))
    assert [event.body["kind"] for event in events] == ["a", "b"] * 5
    assert events[3].time == first + timedelta(days=3)


def test_parquet_filters_from_after_the_start_to_the_end(days):
    path, first = days
    source = ParquetSource(
        path,
        columns=["n", "at"],
        start_filter=first + timedelta(days=2),
        end_filter=first + timedelta(days=6),
        filter_column="at",
        additional_filters=[("kind", "==", "a")],
    )
    assert sorted(body["n"] for body in bodies(source)) == [4, 6]
    assert set(bodies(source)[0]) == {"n", "at"}


def test_parquet_filters_may_be_alternatives(days):
    source = ParquetSource(days[0], additional_filters=[[("n", "<", 2)], [("n", "in", [7, 8]), ("kind", "==", "a")]])
    assert sorted(body["n"] for body in bodies(source)) == [0, 1, 8]


def test_parquet_bounds_need_a_column():
    with pytest.raises(GraphError, match="need filter_column or time_field"):
        ParquetSource("x", start_filter=datetime(2024, 1, 1))


def test_frames_follow_one_another_and_their_index_can_be_the_key():
    frames = [pd.DataFrame({"n": [1, 2]}, index=pd.Index(["a", "b"], name="who")), pd.DataFrame({"n": [3], "who": "c"})]
    source = DataframeSource(frames, key_field="who")
    assert [(event.key, event.body["n"]) for event in source] == [("a", 1), ("b", 2), ("c", 3)]
    assert bodies(DataframeSource(frames[0])) == [{"n": 1}, {"n": 2}]


def test_large_frames_are_read_in_chunks():
    frame = pd.DataFrame({"n": np.arange(2500)})
    assert [body["n"] for body in bodies(DataframeSource(frame))] == list(range(2500))


def test_frames_without_a_time_keep_the_time_of_arrival():
    before = datetime.now(timezone.utc)
    frame = pd.DataFrame({"at": [pd.Timestamp("2024-05-01", tz="UTC"), pd.NaT]})
    first, second = DataframeSource(frame, time_field="at")
    assert first.time == datetime(2024, 5, 1, tzinfo=timezone.utc)
    assert second.time >= before


def test_sql_reads_times_from_text(tmp_path):
    connection = sqlite3.connect(tmp_path / "t.db")
    connection.execute("create table seen (at text)")
    connection.execute("insert into seen values ('2024-05-01'), (null)")
    connection.commit()
    connection.close()
    source = SQLSource(f"sqlite:///{tmp_path / 't.db'}", "seen", time_fields=["at"], time_field="at")
    events = list(source)
    assert [event.body["at"] for event in events] == [datetime(2024, 5, 1), None]
    assert events[0].time == datetime(2024, 5, 1)


def test_sql_says_which_table_is_missing_and_nothing_of_the_url(table):
    source = table["sql"]()
    source._table_name = "rowes"
    with pytest.raises(GraphError, match=r"no table 'rowes'; did you mean 'rows'\?$"):
        bodies(source)
    with pytest.raises(GraphError, match="db_path is no URL") as caught:
        bodies(SQLSource("user:secret@host", "rows"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("pyarrow.dataset", "ParquetSource('x')", "parquet"),
        ("sqlalchemy", "SQLSource('sqlite://', 'x')", "sql"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module, make, extra, run_python):
    run_python(
        f"""
import sys
sys.modules[{module!r}] = None
from penstock.errors import MissingExtra
from penstock.sources import *
try:
    list({make})
except MissingExtra as error:
    assert 'pip install "penstock[{extra}]"' in str(error), error
else:
    raise SystemExit(1)
"""
    )


def test_sources_import_nothing_heavy(run_python):
    run_python(
        "import sys, penstock.sources; assert not {'pandas', 'pyarrow', 'sqlalchemy', 'numpy'} & set(sys.modules)"
    )


class Numbers(Source):
    """Counts how far it was read."""

    def __init__(self, count, **fields):
        super().__init__(**fields)
        self.count = count
        self.read = 0

    def rows(self):
        for n in range(self.count):
            self.read += 1
            yield {"n": n}


def graph_of(handler, *, respond, **options):
    fn = penstock.new_function("fed")
    step = fn.set_topology("flow").to(handler=handler, name="step")
    for option, value in options.items():
        getattr(step, option)(value)
    if respond:
        step.respond()
    return fn


@pytest.mark.parametrize("respond", [True, False])
def test_a_source_runs_through_a_graph_in_order_and_to_the_end(respond):
    seen = []
    server = graph_of(lambda body: seen.append(body["n"]) or body, respond=respond).to_mock_server()
    fed = Numbers(3000, id_field="n").run(server)
    assert (fed.rows, fed.skipped, fed.failed) == (3000, 0, None)
    assert seen == list(range(3000))
    with pytest.raises(GraphClosed):
        server.test(body=1)


class Total:
    """A step that keeps a sum, and gives it at the end."""

    def __init__(self):
        self.total = 0

    def take(self, port, token, event):
        self.total += event.body["n"]
        port.drop([token])

    def finish(self, port):
        return self.total


def test_a_source_that_has_run_gives_what_the_graph_gave_at_its_end():
    fn = penstock.new_function("sums")
    fn.set_topology("flow").to(Total, "total")
    fn.spec.graph.set_flow_source(Numbers(10))
    server = fn.to_mock_server()
    assert fn.spec.graph.flow_source.run(server).result == 45


def test_a_slow_graph_holds_the_source_back():
    started, go_on = threading.Event(), threading.Event()

    def handler(body):
        started.set()
        go_on.wait(20)

    source = Numbers(5000)
    server = graph_of(handler, respond=False, queue=16).to_mock_server()
    feeder = threading.Thread(target=source.run, args=(server,))
    feeder.start()
    assert started.wait(10)
    feeder.join(0.2)  # as far as it gets
    held_at = source.read
    go_on.set()
    feeder.join(20)
    assert held_at <= 1100  # what may be in flight, and a few
    assert source.read == 5000


def test_answers_are_handed_over_in_order():
    answers = []
    with graph_of(lambda body: body["n"] * 2, respond=True).to_mock_server() as server:
        fed = feed(server, Numbers(5, id_field="n"), on_answer=lambda event, body: answers.append((event.id, body)))
    assert answers == [(str(n), 2 * n) for n in range(5)]
    assert (fed.rows, fed.failed, fed.first_error) == (5, 0, None)


def test_failures_are_counted_and_the_first_is_kept():
    with graph_of(lambda body: 1 // (body["n"] % 2), respond=True).to_mock_server() as server:
        fed = feed(server, Numbers(10), max_in_flight=1)
    assert (fed.rows, fed.failed) == (10, 5)
    assert isinstance(fed.first_error, StepError)
    assert isinstance(fed.first_error.__cause__, ZeroDivisionError)


def test_several_events_are_under_way_at_once_and_no_more():
    together = threading.Barrier(4, timeout=20)

    def handler(body):
        together.wait()  # passes only when four are here
        return body

    answers = []
    with graph_of(handler, respond=True, concurrency=8).to_mock_server() as server:
        fed = feed(server, Numbers(40), max_in_flight=4, on_answer=lambda event, body: answers.append(body["n"]))
    assert fed.rows == 40
    assert sorted(answers) == list(range(40))


@pytest.mark.parametrize("options", [{}, {"max_in_flight": 1}, {"max_in_flight": 3}])
def test_a_source_that_fails_ends_the_feeding_with_its_error(options):
    def events():
        yield Event(1)
        raise OSError("disk gone")

    with (
        graph_of(lambda body: body, respond=True).to_mock_server() as server,
        pytest.raises(OSError, match="disk gone"),
    ):
        feed(server, events(), **options)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_fails_on_an_answer_ends_a_source_that_has_no_end(threads):
    def on_answer(event, body):
        if threads == 1 or threading.current_thread().name.endswith("_1"):  # the first of several never ends by itself
            raise ValueError("the caller's own")

    server = graph_of(lambda body: body, respond=True).to_mock_server()
    with server, pytest.raises(ValueError, match="the caller's own"):
        feed(server, (Event(n) for n in itertools.count()), max_in_flight=threads, on_answer=on_answer)


@pytest.mark.parametrize("options", [{}, {"max_in_flight": 1}, {"max_in_flight": 3}])
def test_a_closed_graph_takes_nothing(options):
    server = graph_of(lambda body: body, respond=True).to_mock_server()
    server.wait_for_completion()
    with pytest.raises(GraphClosed):
        feed(server, Numbers(5), **options)


def test_at_least_one_event_is_in_flight():
    with pytest.raises(GraphError, match="max_in_flight is at least 1, not 0"):
        feed(None, [], max_in_flight=0)

"""The offline job: rows in, answers out, and on where it was stopped."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import penstock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from penstock.cli import main
from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.serving import V2ModelServer


def double(row):
    return {"n": row["n"], "m": 2 * row["n"]}


def job_of(*handlers, respond=True, **options):
    fn = penstock.new_function("rows")
    step = fn.set_topology("flow")
    for handler in handlers:
        step = step.to(handler, name=handler.__name__)
    if respond:
        step.respond()
    for key, value in options.items():
        setattr(fn.spec, key, value)
    return fn.to_job()


def write_rows(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read_rows(path):
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("of", ["csv", "parquet", "jsonl"])
def test_rows_of_every_format_become_answers_of_every_format_in_order(tmp_path, of, into):
    given = write_rows(tmp_path / f"in.{of}", [{"n": n} for n in range(2500)])
    out = tmp_path / f"out.{into}"
    report = job_of(double).run(given, str(out))
    assert (report.rows, report.failed, report.finished) == (2500, 0, True)
    assert read_rows(out) == [{"n": n, "m": 2 * n} for n in range(2500)]
    assert sorted(os.listdir(tmp_path)) == [f"in.{of}", f"out.{into}"]


@pytest.mark.parametrize("into", ["csv", "parquet", "jsonl"])
def test_an_input_without_rows_makes_an_output_without_rows(tmp_path, into):
    (tmp_path / "in.csv").write_text("n\n")
    out = tmp_path / f"out.{into}"
    assert job_of(double).run(str(tmp_path / "in.csv"), str(out)).finished
    assert read_rows(out) == []


def test_a_pattern_names_several_files_in_order(tmp_path):
    for name, n in (("b", 2), ("a", 1)):
        write_rows(tmp_path / f"{name}.csv", [{"n": n}])
    out = tmp_path / "out.jsonl"
    job_of(double).run(str(tmp_path / "*.csv"), str(out))
    assert [row["n"] for row in read_rows(out)] == [1, 2]


@pytest.mark.parametrize(
    ("given", "output", "said"),
    [
        ("none.csv", "out.csv", "there is no file .*none.csv"),
        ("in.txt", "out.csv", "a name ends with .csv"),
        ("in.*", "out.csv", "a name ends with|of one format"),
        ("in.csv", "out.xlsx", "a name ends with .csv"),
        ("in.csv", "s3://bucket/out.csv", "a file of this machine"),
        ("in.csv", "there.csv", "is there already; to write it anew: --restart"),
        ("in.csv", "in.csv", "the output .*in.csv is one of the inputs"),
        ("in.csv", "folder.csv", "is a file, and .*folder.csv is a folder"),
        ("in.csv", "nowhere/out.csv", "there is no folder .*nowhere"),
        ("folder.csv", "out.csv", "there is no Parquet file in .*folder.csv"),
        ("latin.csv", "out.csv", "latin.csv is no text in UTF-8"),
    ],
)
def test_files_that_cannot_be_are_told(tmp_path, given, output, said):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes(b"n\n\xff\n")
    write_rows(tmp_path / "in.csv", [{"n": 1}])
    (tmp_path / "in.txt").write_text("")
    (tmp_path / "there.csv").write_text("")
    with pytest.raises((GraphError, penstock.errors.BadBody), match=said):
        job_of(double).run(str(tmp_path / given), output if "://" in output else str(tmp_path / output))


def test_columns_that_the_first_answer_has_not_are_told(tmp_path):
    def grow(row):
        return {"n": 1} | ({"late": 2} if row["n"] else {})

    given = write_rows(tmp_path / "in.jsonl", [{"n": 0}, {"n": 1}])
    with pytest.raises(GraphError, match="has the column 'late', which the first has not; write JSON lines"):
        job_of(grow).run(given, str(tmp_path / "out.csv"))
    job_of(grow).run(given, str(tmp_path / "out.parquet"))
    assert read_rows(tmp_path / "out.parquet") == [{"n": 1, "late": None}, {"n": 1, "late": 2}]


# --- what goes through ------------------------------------------------------------------------------------------


def test_failures_go_to_a_file_beside_and_the_others_on(tmp_path):
    def picky(row):
        if row["n"] % 2:
            raise KeyError("odd")
        return row

    given = write_rows(tmp_path / "in.jsonl", [{"n": n} for n in range(4)])
    report = job_of(picky).run(given, str(tmp_path / "out.jsonl"))
    assert (report.rows, report.failed, read_rows(tmp_path / "out.jsonl")) == (4, 2, [{"n": 0}, {"n": 2}])
    told = read_rows(pathlib.Path(report.errors))
    assert told == [{"row": row, "step": "picky", "error": "KeyError: 'odd'"} for row in (2, 4)]


@pytest.mark.parametrize("into", ["jsonl", "csv"])
def test_an_answer_without_a_form_is_a_failure_of_its_row_alone(tmp_path, into):
    def odd(row):
        return {"n": object() if row["n"] == 2 else [row["n"], None]}

    given = write_rows(tmp_path / "in.jsonl", [{"n": n} for n in (1, 2, 3)])
    out = tmp_path / f"out.{into}"
    report = job_of(odd).run(given, str(out))
    assert (report.rows, report.failed, report.finished) == (3, 1, True)
    (told,) = read_rows(pathlib.Path(report.errors))
    assert (told["row"], told["error"].partition(",")[0]) == (2, "TypeError: Type is not JSON serializable: object")
    lines = {"jsonl": ['{"n":[1,null]}', '{"n":[3,null]}'], "csv": ["n", '"[1,null]"', '"[3,null]"']}[into]
    assert out.read_text().splitlines() == lines


def test_bytes_that_are_no_text_are_no_line_of_json_and_a_value_in_parquet(tmp_path):
    def raw(row):
        return b"\xff" if row["n"] else penstock.Response(None, b"text", "text/plain")

    given = write_rows(tmp_path / "in.jsonl", [{"n": n} for n in (0, 1)])
    report = job_of(raw).run(given, str(tmp_path / "out.jsonl"))
    assert (report.failed, (tmp_path / "out.jsonl").read_text()) == (1, '"text"\n')
    assert "write Parquet" in pathlib.Path(report.errors).read_text()
    job_of(raw).run(given, str(tmp_path / "out.parquet"))
    assert read_rows(tmp_path / "out.parquet") == [{"result": b"text"}, {"result": b"\xff"}]


def test_an_answer_in_chunks_is_a_list_of_them(tmp_path):
    def counted(row):
        yield from range(row["n"])

    job = job_of(counted)
    job.run(write_rows(tmp_path / "in.jsonl", [{"n": 50}]), str(tmp_path / "out.jsonl"))  # one row: nobody else asks
    assert read_rows(tmp_path / "out.jsonl") == [list(range(50))]


def test_values_that_parquet_cannot_hold_together_are_one_clear_line(tmp_path):
    def same(row):
        return {"m": row["n"]}

    given = write_rows(tmp_path / "in.jsonl", [{"n": 1}, {"n": "x"}])
    with pytest.raises(GraphError, match="column 'm' has values that Parquet cannot hold together: .*; write JSON"):
        job_of(same).run(given, str(tmp_path / "out.parquet"))


def test_failures_of_branches_that_answer_nobody_are_told_too(tmp_path):
    def fail(row):
        raise KeyError("side")

    fn = penstock.new_function("rows")
    step = fn.set_topology("flow").to(double, name="double").respond()
    step.to(fail, name="fail")
    given = write_rows(tmp_path / "in.jsonl", [{"n": 1}])
    report = fn.to_job().run(given, str(tmp_path / "out.jsonl"))
    assert (report.failed, read_rows(tmp_path / "out.jsonl")) == (0, [{"n": 1, "m": 2}])
    assert [row["step"] for row in read_rows(pathlib.Path(report.errors))] == ["fail"]


def test_rows_without_an_answer_are_counted(tmp_path):
    def odd(row):
        return row if row["n"] % 2 else penstock.event.DROPPED

    given = write_rows(tmp_path / "in.jsonl", [{"n": n} for n in range(5)])
    report = job_of(odd).run(given, str(tmp_path / "out.jsonl"))
    assert (report.rows, report.filtered, len(read_rows(tmp_path / "out.jsonl"))) == (5, 3, 2)


def test_a_graph_without_responder_is_flushed_to_its_stream(tmp_path):
    fn = penstock.new_function("rows")
    fn.set_topology("flow").to(double, name="double").to(">>", "q", path=f"file://{tmp_path}/q.jsonl")
    given = write_rows(tmp_path / "in.jsonl", [{"n": n} for n in range(50)])
    report = fn.to_job().run(given, str(tmp_path / "out.jsonl"))
    assert (report.rows, report.finished, read_rows(tmp_path / "out.jsonl")) == (50, True, [])
    assert sorted(row["n"] for row in read_rows(tmp_path / "q.jsonl")) == list(range(50))


class Sum(V2ModelServer):
    def load(self):
        self.model = 1

    def predict(self, body):
        self.sizes = [*getattr(self, "sizes", []), len(body["inputs"])]
        return [sum(row) for row in body["inputs"]]


def test_a_model_gets_rows_as_its_inputs_and_each_row_its_output(tmp_path):
    fn = penstock.new_function("rows")
    fn.add_model("m", class_name=Sum, model_path=".")
    given = write_rows(tmp_path / "in.csv", [{"a": n, "b": 1} for n in range(5)])
    fn.to_job().run(
        given, str(tmp_path / "out.csv"), path="/v2/models/m/infer", batch=2, as_lists=True, nest_under_inputs=True
    )
    assert read_rows(tmp_path / "out.csv") == [{"result": n + 1} for n in range(4)] + [{"result": 5}]


# --- on where it was stopped --------------------------------------------------------------------------------------


def test_a_stopped_job_goes_on_and_no_row_is_lost_or_repeated(tmp_path):
    given = write_rows(tmp_path / "in.csv", [{"n": n} for n in range(5000)])
    for into in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{into}"
        seen = []

        def watch(row, seen=seen):
            seen.append(row["n"])
            return double(row)

        report = job_of(watch).run(given, str(out), stopped=lambda seen=seen: len(seen) >= 1500)
        assert not report.finished
        assert 1500 <= report.rows < 5000
        assert not out.exists()
        before = len(seen)
        report = job_of(watch).run(given, str(out))
        assert (report.finished, report.rows, len(seen)) == (True, 5000, 5000)
        assert min(seen[before:]) == before
        assert [row["n"] for row in read_rows(out)] == list(range(5000))


def test_what_was_written_behind_the_checkpoint_is_taken_back(tmp_path):
    given = write_rows(tmp_path / "in.csv", [{"n": n} for n in range(10)])
    out = tmp_path / "out.jsonl"
    calls = []
    job_of(double).run(given, str(out), stopped=lambda: calls.append(1) or len(calls) > 5, concurrency=1)
    with open(f"{out}.partial", "a") as file:
        file.write('{"n": "torn')
    job_of(double).run(given, str(out))
    assert [row["n"] for row in read_rows(out)] == list(range(10))


def test_an_input_that_has_changed_is_refused_unless_it_begins_anew(tmp_path):
    given = write_rows(tmp_path / "in.csv", [{"n": n} for n in range(10)])
    out = tmp_path / "out.jsonl"
    job_of(double).run(given, str(out), stopped=lambda calls=[]: calls.append(1) or len(calls) > 3, concurrency=1)
    write_rows(tmp_path / "in.csv", [{"n": 100}])
    with pytest.raises(GraphError, match="an input that has changed; begin anew with --restart"):
        job_of(double).run(given, str(out))
    job_of(double).run(given, str(out), restart=True)
    assert read_rows(out) == [{"n": 100, "m": 200}]


def test_a_torn_input_is_told_and_what_is_ahead_of_it_is_done(tmp_path):
    given = tmp_path / "in.jsonl"
    given.write_text('{"n": 1}\n{"n": 2}\n{"n":\n')
    with pytest.raises(penstock.errors.BadBody, match="in.jsonl, line 3: "):
        job_of(double).run(str(given), str(tmp_path / "out.jsonl"))
    assert len((tmp_path / "out.jsonl.partial").read_text().splitlines()) == 2


# --- to_job -----------------------------------------------------------------------------------------------------


def test_a_jobs_name_is_the_functions_with_an_end():
    fn = penstock.new_function("rows")
    assert (fn.to_job().name, fn.to_job("other").name) == ("rows-batch", "other")


def test_what_cannot_be_a_job_is_told():
    fn = penstock.new_function("rows")
    fn.add_child_function("child", "./", "image")
    with pytest.raises(MLRunInvalidArgumentError, match="has child functions \\(child\\)"):
        fn.to_job()
    fn = penstock.new_function("rows")
    fn.spec.streaming = True
    with pytest.raises(MLRunInvalidArgumentError, match="streams its answers"):
        fn.to_job()
    with pytest.raises(MLRunInvalidArgumentError, match="longer than 63 characters"):
        penstock.new_function("r" * 60).to_job()


# --- the command ------------------------------------------------------------------------------------------------

MODULE = """
import time
import penstock
def double(row):
    time.sleep(SLEEP)
    if row["n"] == FAILS:
        raise KeyError("n")
    return {"m": 2 * row["n"]}
fn = penstock.new_function("rows")
fn.set_topology("flow").to("double").respond()
"""


def write_module(tmp_path, *, sleep=0, fails=None):
    path = tmp_path / "job_target.py"
    path.write_text(MODULE.replace("SLEEP", str(sleep)).replace("FAILS", str(fails)))
    return str(path)


@pytest.fixture(autouse=True)
def _forget():
    yield
    sys.modules.pop("job_target", None)


def command(*arguments):
    return CliRunner().invoke(main, ["run", *arguments])


def test_the_command_writes_and_says_how_many(tmp_path):
    given = write_rows(tmp_path / "in.csv", [{"n": 1}, {"n": 2}])
    out = tmp_path / "out.jsonl"
    done = command(write_module(tmp_path), "--input", given, "--output", str(out))
    assert (done.exit_code, out.read_text()) == (0, '{"m":2}\n{"m":4}\n')
    assert f"penstock: 2 rows done, written to {out}" in done.output


def test_failed_rows_and_wrong_inputs_are_exit_1_and_no_target_is_2(tmp_path):
    given = write_rows(tmp_path / "in.csv", [{"n": 1}, {"n": 2}])
    out = str(tmp_path / "out.jsonl")
    done = command(write_module(tmp_path, fails=2), "--input", given, "--output", out)
    assert (done.exit_code, "1 failed: " in done.output) == (1, True)
    sys.modules.pop("job_target")
    done = command(write_module(tmp_path), "--input", "nowhere.csv", "--output", out, "--restart")
    assert (done.exit_code, done.output) == (1, "error: there is no file nowhere.csv\n")
    assert command("nowhere.py", "--input", given, "--output", out).exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_the_command_and_the_next_one_goes_on(tmp_path, number):
    given = write_rows(tmp_path / "in.csv", [{"n": n} for n in range(400)])
    out = tmp_path / "out.csv"
    arguments = [sys.executable, "-m", "penstock", "run", write_module(tmp_path, sleep=0.01), "--input", given]
    arguments += ["--output", str(out), "--concurrency", "1"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "out.csv.checkpoint.json").exists():
            assert process.poll() is None
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    if number != signal.SIGKILL:
        assert process.returncode == 75
        assert "rows done; the same command goes on from there" in said
    done = subprocess.run(arguments, check=False, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, "400 rows done" in done.stderr) == (0, True)
    assert [row["m"] for row in read_rows(out)] == [2 * n for n in range(400)]

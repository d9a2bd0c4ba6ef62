"""Answers in chunks: what a handler yields goes through the steps that follow, to the caller, bit by bit."""

import asyncio
import inspect
import threading

import penstock
import pytest
from penstock.errors import StepError, StreamingError


def letters(body):
    for number in range(3):
        yield f"{body}{number}"


async def letters_async(body):
    for number in range(3):
        await asyncio.sleep(0)
        yield f"{body}{number}"


def breaks_off(body):
    yield "a"
    raise ValueError("mid")


@pytest.fixture
def serve(fn):
    servers = []

    def start(build):
        build(fn.set_topology("flow"))
        servers.append(fn.to_mock_server())
        return servers[-1]

    yield start
    for server in servers:
        server.wait_for_completion(timeout=10)


@pytest.fixture
def fn():
    return penstock.new_function("chunks")


@pytest.mark.parametrize("handler", [letters, letters_async])
def test_each_chunk_goes_through_the_steps_that_follow(serve, handler):
    server = serve(lambda graph: graph.to(handler, "make").to("(event + '!')", "mark").respond())
    answer = server.test(body="x")
    assert inspect.isgenerator(answer)
    assert list(answer) == ["x0!", "x1!", "x2!"]
    assert list(server.test(body="y")) == ["y0!", "y1!", "y2!"]


def test_a_chunk_that_is_filtered_out_is_missing_and_no_more(serve):
    server = serve(
        lambda graph: graph.to(letters, "make").to("storey.Filter", "some", _fn="('1' not in event)").respond()
    )
    assert list(server.test(body="x")) == ["x0", "x2"]


def test_a_generator_that_fails_ends_the_answer_with_the_reason(serve):
    server = serve(lambda graph: graph.to(breaks_off, "make").respond())
    answer = server.test(body="x")
    assert next(answer) == "a"
    with pytest.raises(StreamingError, match="ValueError: mid") as caught:
        next(answer)
    assert caught.value.step == "make"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_failure_before_the_first_chunk_is_an_ordinary_one(serve):
    def fails(body):
        raise KeyError(body)
        yield

    server = serve(lambda graph: graph.to(fails, "make").respond())
    with pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'"):
        server.test(body="x")


def test_a_step_on_the_way_that_fails_ends_the_answer_and_the_generator(serve):
    closed = threading.Event()

    def endless(body):
        try:
            while True:
                yield body
        finally:
            closed.set()

    def second_fails(body, seen=[]):  # noqa: B006  # shared between calls on purpose
        seen.append(body)
        if len(seen) == 2:
            raise KeyError(body)
        return body

    server = serve(lambda graph: graph.to(endless, "make").to(second_fails, "check").respond())
    answer = server.test(body="x")
    assert next(answer) == "x"
    with pytest.raises(StreamingError, match="KeyError: 'x'"):
        next(answer)
    assert closed.wait(10)


def test_an_error_handler_takes_the_chunk_that_fails(serve):
    def second_fails(body):
        if body.endswith("1"):
            raise KeyError(body)
        return body

    def build(graph):
        graph.to(letters, "make").to(second_fails, "check").respond()
        graph["check"].error_handler(name="catch", handler="('caught ' + event)")

    assert list(serve(build).test(body="x")) == ["x0", "caught x1", "x2"]


def test_a_slow_reader_holds_the_generator_up(serve):
    made = []

    def endless(body):
        for number in range(10**9):
            made.append(number)
            yield number

    server = serve(lambda graph: graph.to(endless, "make").respond())
    answer = server.test(body="x")
    assert [next(answer) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(made) < 64
    answer.close()


def test_a_reader_that_leaves_closes_the_generator(serve):
    closed = threading.Event()

    async def endless(body):
        try:
            while True:
                await asyncio.sleep(0)
                yield body
        finally:
            closed.set()

    answer = serve(lambda graph: graph.to(endless, "make").respond()).test(body="x")
    assert next(answer) == "x"
    answer.close()
    assert closed.wait(10)


def test_a_generator_without_chunks_is_an_empty_answer(serve):
    server = serve(lambda graph: graph.to(lambda body: (each for each in body), "make").respond())
    assert list(server.test(body=[])) == []


def test_chunks_cannot_be_made_of_chunks(serve):
    server = serve(lambda graph: graph.to(letters, "make").to(letters, "again").respond())
    with pytest.raises(
        StepError,
        match=r"Streaming on top of streaming is not allowed. Step 'again' received a streaming event from 'make'\.",
    ):
        server.test(body="x")


def test_without_a_responder_the_chunks_just_pass(serve):
    seen = []
    server = serve(lambda graph: graph.to(letters, "make").to(seen.append, "see"))
    assert server.test(body="x").keys() == {"id"}
    server.wait_for_completion()
    assert seen == ["x0", "x1", "x2"]


def test_events_with_chunks_keep_apart(serve):
    server = serve(lambda graph: graph.to(letters_async, "make").to("(event * 2)", "twice").respond())
    answers = {}

    def ask(name):
        answers[name] = list(server.test(body=name))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == {name: [f"{name}{number}" * 2 for number in range(3)] for name in "abcdefgh"}

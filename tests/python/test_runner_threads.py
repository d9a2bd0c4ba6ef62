"""The threads of models."""

import threading

import pytest
from penstock.errors import GraphClosed
from penstock.runner.threads import ThreadPool


def test_jobs_run_on_as_many_threads_as_there_may_be():
    threads = ThreadPool(3, "test")
    barrier = threading.Barrier(3)
    jobs = [threads.submit(barrier.wait, 10) for _ in range(6)]
    assert sorted(job.result(timeout=10) for job in jobs) == [0, 0, 1, 1, 2, 2]
    assert len(threads._threads) == 3
    threads.close()


def test_one_free_thread_is_enough_for_one_job_at_a_time():
    threads = ThreadPool(3, "test")
    ran = {threads.submit(threading.get_ident).result(timeout=10) for _ in range(5)}
    assert 1 <= len(ran) <= 2  # a thread is free a moment after its result is there
    threads.close()


def test_a_job_that_was_cancelled_does_not_run():
    threads = ThreadPool(1, "test")
    gate = threading.Event()
    first = threads.submit(gate.wait, 10)
    second = threads.submit(pytest.fail, "it ran")
    assert second.cancel()
    gate.set()
    assert first.result(timeout=10)
    assert threads.submit(lambda: "next").result(timeout=10) == "next"
    threads.close()


def test_what_waits_when_it_closes_fails():
    threads = ThreadPool(1, "test")
    gate, begun = threading.Event(), threading.Event()
    first = threads.submit(lambda: begun.set() or gate.wait(10))
    second = threads.submit(pytest.fail, "it ran")
    assert begun.wait(10)
    threads.close()
    with pytest.raises(GraphClosed):
        second.result(timeout=10)
    with pytest.raises(GraphClosed):
        threads.submit(print)
    gate.set()
    assert first.result(timeout=10)

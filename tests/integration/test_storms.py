"""The storms of `./dev storm` in their short forms, on a real broker."""

import broker
import pytest
import storm_broker
import storm_drain
import storm_poison
import storm_rebalance


@pytest.fixture
def log(tmp_path):
    """Where the processes of a storm write."""
    with open(tmp_path / "log", "a", encoding="utf-8") as file:
        yield file


@pytest.mark.timeout(300)
def test_a_broker_that_is_killed_loses_nothing_and_the_flow_comes_back(tmp_path, log):
    address = broker.start(tmp_path / "kafka")
    try:
        report = storm_broker.storm(address, tmp_path / "kafka", messages=3000, times=1, seed=7, log=log)
    finally:
        broker.stop(tmp_path / "kafka")
    print(report)
    assert (report.lost, report.disordered, report.kills) == (0, 0, 1)
    assert report.slowest_return <= 15


@pytest.mark.timeout(300)
def test_members_that_join_and_leave_lose_nothing_and_commit_nothing_of_others(kafka_address):
    report = storm_rebalance.storm(kafka_address, messages=600, times=4, seed=7)
    print(report)
    assert report.rebalances > 6
    assert report.late_acks > 0
    assert (report.lost, report.foreign_commits) == (0, 0)


@pytest.mark.timeout(300)
def test_poison_goes_to_the_dead_letters_and_nothing_else_does(kafka_address, log):
    report = storm_poison.storm(kafka_address, messages=3000, seed=7, log=log)
    print(report)
    assert report.poison > 30
    assert report.letters >= report.poison
    assert not storm_poison.is_broken(report)


@pytest.mark.timeout(300)
def test_who_is_stopped_answers_what_it_has_accepted(kafka_address, log):
    report = storm_drain.storm(kafka_address, messages=50, times=3, seed=7, log=log)
    print(report)
    assert report.answered > 50
    assert report.processed > 0
    assert not storm_drain.is_broken(report)

"""Processes are killed while records go through them: the short form; `./dev storm` is the long one."""

import pytest
from storm import storm


@pytest.mark.timeout(300)
def test_a_storm_of_kills_loses_nothing_and_keeps_each_key_in_order(kafka_address):
    report = storm(kafka_address, messages=3000, kills=4, seed=7)
    print(report)
    assert report.hard_kills > 0
    assert report.lost == 0
    assert report.disordered == 0


@pytest.mark.timeout(120)
def test_without_kills_nothing_comes_twice(kafka_address):
    report = storm(kafka_address, messages=2000, kills=0, seed=7, workers=1)
    assert (report.lost, report.duplicates, report.disordered) == (0, 0, 0)

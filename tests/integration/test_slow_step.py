"""A fast source and a slow step: the short form of `./dev storm slow-step`."""

import pytest
from slow_step import run


@pytest.mark.timeout(120)
def test_what_has_to_wait_takes_a_bounded_memory(kafka_address):
    report = run(kafka_address, seconds=10, rate=2000, size=16_384)
    print(report)
    assert report.written_mib > 150
    assert report.is_bounded, str(report)

"""What a model that is worth batching costs. No penstock here: the peers serve the same."""

import time

BATCH = 32
BATCH_COST = 0.011  # seconds a call ...
ROW_COST = 0.0009  # ... and seconds a row
DELAY = 0.002  # seconds that a batch may wait for more


def batch_seconds(rows):
    """Return the seconds of a call with so many rows."""
    return BATCH_COST + ROW_COST * rows


def wait_until(end):
    """Sleep without the GIL, and not past the end: the timer's slack is made up for by the last stretch."""
    while (left := end - time.perf_counter()) > 0:
        time.sleep(max(left - 0.0002, 0.00001))

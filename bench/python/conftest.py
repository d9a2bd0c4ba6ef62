"""Every benchmark says whether it is judged."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if sum(item.get_closest_marker(name) is not None for name in ("gate", "informational")) != 1:
            raise pytest.UsageError(f"{item.nodeid}: mark it exactly one of gate and informational")

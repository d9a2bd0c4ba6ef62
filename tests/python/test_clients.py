"""The clients of KServe and of the protocol's authors, each in a process of its own; Triton's have files of theirs."""

import os
import pathlib
import subprocess

import pytest
from served import Served

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def server():
    served = Served(f"{HERE / 'protocol_models.py'}:fn", "--grpc-port", "0")
    yield served
    served.end()


@pytest.mark.parametrize("check", ["kserve_rest", "kserve_grpc", "open_inference_rest", "open_inference_grpc"])
def test_a_client_is_served(server, check):
    command = [os.environ["PENSTOCK_CLIENTS"], str(HERE / "other_clients.py"), check]
    ran = subprocess.run(
        [*command, str(server.port), str(server.grpc_port)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]

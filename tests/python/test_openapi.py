"""The description of what is served: valid, complete, and true."""

import os
import pathlib
import subprocess
import sys

import pytest
from openapi_spec_validator import validate
from penstock.openapi import describe
from served import Served

HERE = pathlib.Path(__file__).parent
EXAMPLES = os.environ.get("PENSTOCK_API_EXAMPLES", "8")  # for each operation, and each way to make them


@pytest.mark.parametrize("models", [[], ["m"], ["m:v1", "m:v2", "n"]])
def test_it_is_valid(models):
    validate(describe("shop", models))


def test_models_and_versions_are_listed_by_name():
    described = describe("shop", ["m:v1", "m:v2", "n"])
    model, version = described["paths"]["/v2/models/{model}/versions/{version}/infer"]["parameters"]
    assert model["schema"]["enum"] == ["m", "n"]
    assert version["schema"]["enum"] == ["v1", "v2"]


def test_every_path_of_the_protocol_is_in_it():
    paths = describe("shop", ["m"])["paths"]
    operations = ("", "/ready", "/config", "/stats", "/infer", "/generate", "/generate_stream")
    for place in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        assert set(paths) >= {place + operation for operation in operations}
    assert set(paths) >= {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/stats", "/metrics"}
    assert set(paths) >= {"/", "/openapi.json", "/v2/repository/index", "/v2/repository/models/{model}/load"}
    for path, item in paths.items():
        for method, call in item.items():
            if method == "parameters":
                continue
            refused = {status for status in call["responses"] if status >= "400"}
            assert refused >= {"400", "404", "413", "503"}, (path, method)


@pytest.mark.timeout(3600)
def test_what_it_says_is_so():
    served = Served(f"{HERE / 'protocol_models.py'}:described")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    command += [f"{served.url}/openapi.json", "--checks", "all", "--max-examples", EXAMPLES, "--seed", "1"]
    command += ["--request-timeout", "20", "--no-color", "--warnings", "off", "--continue-on-failure"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=3500, check=False)
        assert served.process.poll() is None
    finally:
        served.end()
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-1000:]

"""How wheels are built for a release: the workflows, and what they have cibuildwheel build."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from check_jsonschema.cli import main as check_jsonschema
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
PYTHONS = ["cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_workflows_are_as_their_schema_says(path):
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.github-workflows", str(path)])
    assert done.exit_code == 0, done.output


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cibuildwheel is for 3.11 and later")
@pytest.mark.parametrize(
    ("platform", "arch", "kinds"),
    [
        ("linux", "x86_64", ["manylinux", "musllinux"]),
        ("linux", "aarch64", ["manylinux", "musllinux"]),
        ("macos", "arm64", ["macosx"]),
        ("macos", "x86_64", ["macosx"]),
    ],
)
def test_a_release_has_a_wheel_for_every_python_and_machine(platform, arch, kinds):
    command = [sys.executable, "-m", "cibuildwheel", "--platform", platform, "--archs", arch]
    command += ["--print-build-identifiers", str(ROOT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [f"{python}-{kind}_{arch}" for kind in kinds for python in PYTHONS]


def test_what_a_pull_request_builds_is_among_what_a_release_builds():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    for one in workflow["jobs"]["wheel"]["strategy"]["matrix"]["include"]:
        python, _, machine = one["build"].partition("-")
        assert python in PYTHONS
        assert machine.partition("_")[0] in ("manylinux", "musllinux", "macosx")

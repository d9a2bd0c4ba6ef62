"""What is written for the three examples and each target is what was reviewed: tests/python/golden.

After a change that is meant: PENSTOCK_WRITE_GOLDEN=1 pytest tests/python/test_deploy_golden.py, and read the diff.
"""

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from deployments import KAFKA, files_of, forget, load_example
from penstock.deploying import TARGETS

GOLDEN = Path(__file__).with_name("golden")
WRITE = bool(os.environ.get("PENSTOCK_WRITE_GOLDEN"))
CASES = [(example, target) for example in ("sklearn_router", "advanced", "nlp") for target in TARGETS]
COPIES = (".py", ".pkl", ".lock")  # of the examples, of the models they train, of the versions that are installed
# From where one is newer on, and for as long as everybody has it.
KUBERNETES = ("1.27", "1.31")


@pytest.fixture(scope="module")
def deployed():
    """Return what a target needs for an example, which is loaded once."""
    modules, known = {}, {}

    def deploy(example, target):
        if example not in modules:
            modules[example] = load_example(example)
        if (example, target) not in known:
            module = modules[example]
            function = module.function if example == "advanced" else module.fn
            kafka = {} if target == "compose" else {"kafka": KAFKA}
            known[example, target] = files_of(function, target, module=vars(module), **kafka)
        return known[example, target]

    yield deploy
    for module in modules.values():
        forget(module)


def comparable(content):
    """Leave out what is another one for each state of the source, and each release."""
    text = content.decode()
    text = re.sub(r'(penstock.io/content: )"?[0-9a-f]{16}"?', r"\1CONTENT", text)
    return re.sub(r"(penstock(?:\[[a-z0-9,]+\])?==)[0-9.]+", r"\1VERSION", text)


@pytest.mark.parametrize(("example", "target"), CASES)
def test_what_is_written_is_what_was_reviewed(example, target, deployed):
    files = deployed(example, target)
    found = {name: comparable(content) for name, content in files.items() if not name.endswith(COPIES)}
    folder = GOLDEN / example / target
    if WRITE:
        for name, text in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    reviewed = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(reviewed)
    for name, text in reviewed.items():
        assert found[name] == text, name


@pytest.mark.parametrize(("example", "target"), CASES)
def test_the_source_the_models_and_the_lock_go_along(example, target, deployed):
    files = deployed(example, target)
    prefix = next(name for name in files if name.endswith(f"{example}.py")).removesuffix(f"{example}.py")
    models = {"sklearn_router": ["model1/model1.pkl", "model2/model2.pkl"], "nlp": []}
    for model in models.get(example, ["ensemble.m1/m1.pkl", "ensemble.m2/m2.pkl"]):
        assert len(files[f"{prefix}models/{model}"]) > 100
    lock = next(content for name, content in files.items() if name.endswith("requirements.lock")).decode()
    assert re.search(r"^numpy==[\d.]+$", lock, re.MULTILINE)
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+", line) for line in lock.splitlines())


@pytest.mark.parametrize(("example", "target"), [case for case in CASES if case[1] in {"k8s", "kserve"}])
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_its_objects(example, target, version, deployed):
    files = deployed(example, target)
    documents = [one for name, text in files.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text)]
    plain = [one for one in documents if one["apiVersion"].rpartition("/")[0] not in ("keda.sh", "serving.kserve.io")]
    assert len(plain) >= (1 if target == "kserve" else 4)
    for document in plain:
        kubernetes_validate.validate(document, version, strict=True)


def test_keda_takes_its_objects(deployed):
    """As the models say that a package makes of KEDA's own definitions: what they do not know would be missing."""
    documents = list(yaml.safe_load_all(deployed("nlp", "k8s")["keda.yaml"]))
    assert [one["kind"] for one in documents] == ["ScaledObject"]
    for one in documents:
        assert ScaledObject.model_validate(one).model_dump(mode="json", by_alias=True, exclude_none=True) == one


@pytest.mark.parametrize("example", ["sklearn_router", "advanced", "nlp"])
def test_compose_takes_its_file(example, deployed):
    """As the specification's own schema says."""
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load(deployed(example, "compose")["compose.yaml"]), schema)


@pytest.mark.parametrize("example", ["sklearn_router", "advanced", "nlp"])
def test_the_dockerfiles_are_clean(example, deployed, tmp_path):
    files = deployed(example, "compose")
    # Beside this Python, else on the PATH.
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in files if name.startswith("Dockerfile")]:
        (tmp_path / name).write_bytes(files[name])
        done = subprocess.run([hadolint, tmp_path / name], check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout


def test_every_yaml_reads_back(deployed):
    for example, target in CASES:
        for name, content in deployed(example, target).items():
            if name.endswith(".yaml"):
                assert list(yaml.safe_load_all(content)), name

"""The local registry: a folder with models, artifacts and data sets, each in numbered versions.

It lies where ``PENSTOCK_STORE`` says, by default in ``~/.penstock/store``::

    models/<project>/<key>/1/model.pkl
    models/<project>/<key>/1/model_spec.yaml
    models/<project>/<key>/tags/<tag>          # the number of a version

A version appears whole, by one rename, and never changes; the highest number is the latest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.errors import GraphError, ModelFileNotFound
from penstock.modelspec import find_spec, read_document

KINDS = ("models", "artifacts", "datasets", "feature-vectors", "feature-sets")
DEFAULT_PROJECT = "default"
_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*")
_URI = re.compile(
    r"store://(?P<kind>[a-z\-]+)/(?:(?P<project>[^/#:@]+)/)?(?P<key>[^#:@]+?)"
    r"(?:#(?P<iter>\d+))?(?::(?P<tag>[^@^]+))?(?:@(?P<tree>[^^]*))?(?:\^(?P<uid>.+))?"
)


@dataclasses.dataclass(frozen=True)
class Address:
    """What a ``store://`` URI says.

    Examples
    --------
    >>> address = Address.parse("store://models/shop/churn:v2")
    >>> address.kind, address.project, address.key, address.tag
    ('models', 'shop', 'churn', 'v2')
    """

    kind: str
    project: str
    key: str
    iteration: int | None = None
    tag: str = ""
    uid: str = ""

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Read a URI: ``store://<kind>/[<project>/]<key>[#<iteration>][:<tag>][@<uid>]``.

        Raises
        ------
        GraphError
            It is no such URI, or there is no such kind.
        """
        found = _URI.fullmatch(uri)
        if found is None:
            raise GraphError(f"{uri} is no store URI; write store://<kind>/<project>/<key>[#iteration][:tag][@uid]")
        if found["kind"] not in KINDS:
            raise GraphError(f"{uri}: there is no kind '{found['kind']}', there are {', '.join(KINDS)}")
        key, project = checked(found["key"], "key"), checked(found["project"] or DEFAULT_PROJECT, "project")
        iteration = int(found["iter"]) if found["iter"] else None
        return cls(found["kind"], project, key, iteration, found["tag"] or "", found["uid"] or found["tree"] or "")

    def __str__(self) -> str:
        text = f"store://{self.kind}/{self.project}/{self.key}"
        if self.iteration:
            text += f"#{self.iteration}"
        return text + (f":{self.tag}" if self.tag else "") + (f"@{self.uid}" if self.uid else "")

    @property
    def folder(self) -> str:
        """Where its versions are."""
        return os.path.join(root(), self.kind, self.project, self.key)


def root() -> str:
    """Return the registry's folder."""
    return os.path.abspath(os.path.expanduser(os.environ.get("PENSTOCK_STORE") or "~/.penstock/store"))


def checked(name: str, what: str) -> str:
    """Return a key, project or tag that may be the name of a folder.

    Raises
    ------
    GraphError
        It may not.

    Examples
    --------
    >>> checked("..", "key")
    Traceback (most recent call last):
        ...
    penstock.errors.GraphError: the key '..' is not made of letters, digits, '-', '_' and '.'
    """
    if not _NAME.fullmatch(name):
        raise GraphError(f"the {what} '{name}' is not made of letters, digits, '-', '_' and '.'")
    return name


def find(address: Address) -> str | None:
    """Return the folder of the version that an address names, the latest one that fits; None if there is none."""
    if address.tag and address.tag != "latest":
        return _tagged(address)
    for version in versions(address.folder):
        folder = os.path.join(address.folder, str(version))
        if _fits(folder, version, address):
            return folder
    return None


def _tagged(address: Address) -> str | None:
    try:
        with open(os.path.join(address.folder, "tags", checked(address.tag, "tag")), encoding="utf-8") as file:
            version = int(file.read())
    except FileNotFoundError:
        return None
    folder = os.path.join(address.folder, str(version))
    return folder if _fits(folder, version, address) else None


def _fits(folder: str, version: int, address: Address) -> bool:
    if not address.uid and address.iteration is None:
        return True
    metadata = read_metadata(folder)
    if address.iteration is not None and metadata.get("iter", 0) != address.iteration:
        return False
    return not address.uid or address.uid in (str(version), metadata.get("uid"), metadata.get("tree"))


def versions(folder: str) -> list[int]:
    """Return the numbers of the versions there are, the latest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def tags(folder: str) -> Iterator[str]:
    """Return the tags there are."""
    place = os.path.join(folder, "tags")
    yield from sorted(os.listdir(place)) if os.path.isdir(place) else ()


def require(address: Address, what: str) -> str:
    """Return the folder of the version that an address names.

    Raises
    ------
    ModelFileNotFound
        There is none; the text says what there is instead.
    """
    folder = find(address)
    if folder is not None:
        return folder
    known = versions(address.folder)
    if known:
        there = ", ".join([f"@{version}" for version in reversed(known)] + [f":{tag}" for tag in tags(address.folder)])
        raise ModelFileNotFound(f"{what}: {address} is not in the store, which has {address.key} as {there}")
    project = os.path.join(root(), address.kind, address.project)
    keys = sorted(os.listdir(project)) if os.path.isdir(project) else []
    held = f"holds {', '.join(keys)}" if keys else "is empty"
    raise ModelFileNotFound(f"{what}: {address} is not in the store {root()}, whose {address.project} {held}")


def read_metadata(folder: str) -> dict[str, Any]:
    """Return what a version says about itself."""
    spec = find_spec(folder)
    metadata: dict[str, Any] = (read_document(spec).get("metadata") if spec else None) or {}
    return metadata


class Draft:
    """A version that is being written; nobody sees it before `commit`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        os.makedirs(address.folder, exist_ok=True)
        self.path = tempfile.mkdtemp(prefix=".draft-", dir=address.folder)

    def commit(self, document: Mapping[str, Any], tag: str = "") -> tuple[int, str]:
        """Write the spec and make the version visible, under the next number; return number and folder."""
        with open(os.path.join(self.path, "model_spec.yaml"), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2, default=_plain)  # JSON is YAML
            file.write("\n")
        os.chmod(self.path, 0o755)  # a temporary directory is its maker's alone  # noqa: S103
        place = self._address.folder
        while True:
            version = max(versions(place), default=0) + 1
            folder = os.path.join(place, str(version))
            try:
                os.rename(self.path, folder)
                break
            except OSError:
                if not os.path.isdir(folder):  # else another writer took the number
                    raise
        if tag:
            self._tag(tag, version)
        return version, folder

    def discard(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _tag(self, tag: str, version: int) -> None:
        place = os.path.join(self._address.folder, "tags")
        os.makedirs(place, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._address.folder, prefix=".tag-", delete=False) as file:
            file.write(str(version))
        os.replace(file.name, os.path.join(place, tag))


def _plain(value: Any) -> Any:
    """Write NumPy's numbers and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)

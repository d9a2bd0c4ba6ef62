"""Which packages a function needs, and in which versions: those that it was tested with here."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator

from penstock import __version__

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_BASE = ("click", "fsspec", "nuclio-sdk", "numpy", "orjson", "prometheus-client", "rich")  # if run from a checkout
_BY_SCHEME = {"kafka": "kafka", "s3": "s3", "s3a": "s3", "v3io": "v3io"}


def canonical(name: str) -> str:
    """Write a package's name as it is compared.

    Examples
    --------
    >>> canonical("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def extras_of(text: str) -> list[str]:
    """Return the extras of penstock that the addresses in a specification need.

    Examples
    --------
    >>> extras_of('{"path": "kafka://host/topic", "model_path": "s3://bucket/m.pkl"}')
    ['kafka', 's3']
    """
    schemes = set(re.findall(r"\b(\w+)://", text))
    return sorted({_BY_SCHEME[scheme] for scheme in schemes if scheme in _BY_SCHEME})


def requirements_of(
    given: Iterable[str], modules: Iterable[str], extras: Iterable[str], *, wheel: str = ""
) -> tuple[list[str], list[str]]:
    """List what has to be installed.

    Parameters
    ----------
    given : iterable of str
        What the function says that it needs.
    modules : iterable of str
        What its source imports.
    extras : iterable of str
        Extras of penstock.
    wheel : str
        The path of a wheel of penstock to install, instead of the released one.

    Returns
    -------
    requirements : list of str
        penstock, what was given, and the packages of the modules, each once.
    unknown : list of str
        Modules that no package here has.
    """
    marked = f"[{','.join(extras)}]" if extras else ""
    own = f"./{wheel}{marked}" if wheel else f"penstock{marked}=={__version__}"
    listed = list(given)
    have = {canonical(_parsed(line)[0]) for line in listed} | set(_closure([("penstock", ())]))
    listed_modules = sorted(modules)
    packages = importlib.metadata.packages_distributions() if listed_modules else {}  # it reads all there are
    found: dict[str, str] = {}
    unknown: list[str] = []
    for module in listed_modules:
        owners = packages.get(module) or _owners(module)
        if not owners:
            unknown.append(module)
        elif not have & {canonical(name) for name in owners}:
            found[canonical(owners[0])] = owners[0]
    return [own, *listed, *(found[key] for key in sorted(found))], unknown


def _owners(module: str) -> list[str]:
    """Look for a module in the lists of installed files: Python 3.10 knows only those that name their modules."""
    places = (module, f"{module}.py")
    return [
        package.metadata["Name"]
        for package in importlib.metadata.distributions()
        if any(path.parts[0] in places for path in package.files or () if path.suffix == ".py")
    ]


def lock(requirements: Iterable[str]) -> list[str]:
    """Return the versions, as installed here, of what requirements bring: lines of a constraints file.

    What is not installed here is left out, so an installer is free to choose its version.
    """
    starts = [_parsed(line) for line in requirements if not line.startswith("./")]
    versions = _closure([("penstock", ()), *starts])
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def _parsed(requirement: str) -> tuple[str, tuple[str, ...]]:
    found = _NAME.match(requirement)
    if found is None:
        return "", ()
    return found[1], tuple(extra.strip() for extra in (found[2] or "").split(",") if extra.strip())


def _closure(starts: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    """Follow requirements; environment markers are not read: a constraint on what nobody installs does no harm."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = list(starts)
    while waiting:
        name, extras = waiting.pop()
        key = (canonical(name), extras)
        if not name or key in seen:
            continue
        seen.add(key)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if key[0] == "penstock":
                versions["penstock"] = __version__
                waiting += [(base, ()) for base in _BASE]
            continue
        versions[key[0]] = found.version
        waiting += _required(found, extras)
    return versions


def _required(
    package: importlib.metadata.Distribution, extras: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in package.requires or []:
        text, _, marker = line.partition(";")
        asked = _EXTRA.search(marker)
        if asked is None or asked[1] in extras:
            yield _parsed(text)

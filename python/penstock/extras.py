"""Packages that penstock can use and does not require: they are imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

from penstock.errors import MissingExtra


def load_extra(module: str, extra: str, what: str) -> Any:
    """Import an optional package.

    Parameters
    ----------
    module : str
        The module to import.
    extra : str
        The extra of penstock that brings it.
    what : str
        What needs it, for the error.

    Raises
    ------
    MissingExtra
        It is not installed, or one that it needs is not; the text says what to install.

    Examples
    --------
    >>> load_extra("json", "docs", "this example").dumps([1])
    '[1]'
    >>> load_extra("nowhere", "docs", "this example")
    Traceback (most recent call last):
        ...
    penstock.errors.MissingExtra: this example needs the package 'nowhere': pip install "penstock[docs]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module.partition(".")[0]
        raise MissingExtra(f"{what} needs the package '{missing}': pip install \"penstock[{extra}]\"") from error

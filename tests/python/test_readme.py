"""What the pages show is what happens: their Python runs, and their calls of curl get the answers shown.

Blocks of one page share their names, as cells of a notebook do. One that starts with ``# name.py`` is a file. What
follows ``print(...)  #`` is what is printed. In ``console`` blocks, ``"..."`` stands for any text.
"""

import contextlib
import importlib
import io
import json
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import Served

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)
FILE = re.compile(r"# (\w+)\.py\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a page's files are; modules made of them are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


def run_block(code, names, where):
    """Run a block, and compare what it prints with its comments."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, where, "exec"), names)
    assert printed.getvalue().splitlines() == PRINTED.findall(code), where


def run_console(text, folder, servers):
    """Start what `penstock serve` starts, send what curl sends to the last of them, compare the answers."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = shlex.split(command)
        if words[:2] == ["penstock", "serve"]:
            servers.append(Served(folder / words[2], *words[3:]))
        else:
            assert words[0] == "curl", command
            assert same(curl(words[1:], servers[-1]), json.loads(expected)), f"{command}\n{expected}"


def curl(words, server):
    """Send what curl would send; return the answer, read as JSON."""
    headers, body, path = {}, None, "/"
    arguments = iter(words)
    for word in arguments:
        if word == "-d":
            body = next(arguments)
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        elif word == "-H":
            name, _, value = next(arguments).partition(": ")
            headers[name] = value
        else:
            path = urlsplit(f"http://{word}").path or "/"
    return server.request(path, body, headers=headers)[2]


def same(actual, expected):
    """Tell whether both are alike, where "..." is like any text."""
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and list(actual) == list(expected)
            and all(same(actual[key], expected[key]) for key in expected)
        )
    return isinstance(actual, str) if expected == "..." else actual == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page, folder):
    text = page.read_text()
    names = {"__name__": "__main__"}
    servers = []
    try:
        for kind, code in BLOCK.findall(text):
            line = text[: text.index(code)].count("\n")
            file = FILE.match(code)
            if kind == "console":
                run_console(code, folder, servers)
            elif file:
                (folder / f"{file[1]}.py").write_text(code)
                importlib.invalidate_caches()
            else:
                run_block("\n" * line + code, names, page.name)
    finally:
        for server in servers:
            server.end()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target

"""YAML, written so that the same fields give the same text whatever is installed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What needs no quotes whatever reads it: no YAML 1.1 or 1.2 takes such a word for anything but text.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
_WIDTH = 100


def dump(*documents: Any) -> str:
    r"""Write documents as YAML.

    Examples
    --------
    >>> print(dump({"a": [1, {"b": "yes"}], "c": "x\ny\n"}, {}), end="")
    a:
      - 1
      - b: "yes"
    c: |
      x
      y
    ---
    {}
    """
    return "---\n".join("".join(f"{line}\n" for line in _lines(document)) for document in documents)


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{_scalar(str(key))}:", item)
    elif _is_list(value) and value:
        for item in value:
            if not _is_inline(item) and not isinstance(item, str):
                inner = list(_lines(item))
                yield f"- {inner[0]}"
                yield from (f"  {line}" for line in inner[1:])
            else:
                yield from _entry("-", item)
    else:
        yield _scalar(value)


def _entry(head: str, item: Any) -> Iterator[str]:
    if isinstance(item, str) and _is_block(item):
        yield f"{head} |"
        yield from (f"  {line}" if line else "" for line in item[:-1].split("\n"))
    elif _is_inline(item):
        yield f"{head} {_flow(item)}"
    else:
        yield head
        yield from (f"  {line}" for line in _lines(item))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_inline(item: Any) -> bool:
    """Tell whether it is one word, empty, or a short list of words: a command reads best on one line."""
    if _is_list(item):
        words = all(isinstance(word, (str, int, float)) or word is None for word in item)
        return not item or (words and len(item) > 1 and len(_flow(item)) <= _WIDTH)
    return not isinstance(item, Mapping) or not item


def _flow(item: Any) -> str:
    if _is_list(item):
        return "[" + ", ".join(_quoted(word) if isinstance(word, str) else _scalar(word) for word in item) + "]"
    return "{}" if isinstance(item, Mapping) else _scalar(item)


def _is_block(text: str) -> bool:
    lines = text.split("\n")
    printable = all(line.isprintable() and not line.endswith(" ") for line in lines)
    return len(lines) > 2 and not lines[-1] and bool(lines[-2]) and lines[0][:1] not in ("", " ") and printable


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
    if isinstance(value, Mapping):
        return "{}"
    return "[]" if _is_list(value) else json.dumps(value)


def _quoted(text: str) -> str:
    r"""Quote as JSON does, but for what is not printed: YAML has no pairs of surrogates.

    Examples
    --------
    >>> print(_quoted('a "\u2028" \x7f'))
    "a \"\u2028\" \x7f"
    """
    return "".join(char if char.isprintable() else _escaped(char) for char in json.dumps(text, ensure_ascii=False))


def _escaped(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

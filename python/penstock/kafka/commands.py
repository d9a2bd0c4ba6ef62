"""The command line for dead letters: `penstock dlq show`, `penstock dlq replay`."""

from __future__ import annotations

import sys

import click

from penstock.errors import PenstockError


@click.group(help="Look at dead letters, and send them back.\n\nPATH is kafka://host:port/topic.")
def dlq() -> None:
    """Hold the commands."""


@dlq.command(help="Print dead letters, a JSON line each, without taking them.")
@click.argument("path")
@click.option("--limit", default=None, type=click.IntRange(1), help="At most so many.")
def show(path: str, limit: int | None) -> None:
    """Print dead letters."""
    from penstock.kafka.replay import letters_of
    from penstock.streams.records import to_json

    try:
        for letter in letters_of(path, limit=limit):
            readable = {name: _text(value) for name, value in letter.items()}
            click.echo(to_json(readable).decode())
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


@dlq.command(help="Send dead letters back to the topics they come from, each once.")
@click.argument("path")
@click.option("--limit", default=None, type=click.IntRange(1), help="At most so many.")
def replay(path: str, limit: int | None) -> None:
    """Send dead letters back."""
    from penstock.kafka import replay as back

    try:
        click.echo(f"{back.replay(path, limit=limit)} sent back")
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _text(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value  # as base64

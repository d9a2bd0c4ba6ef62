"""The command line for dead letters: `penstock dlq show`, `penstock dlq replay`."""

from __future__ import annotations

import sys

import click

from penstock.errors import PenstockError

_client = click.option(
    "--client",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of the Kafka client, such as security.protocol=SASL_SSL or 'sasl.password=${PASSWORD}', which "
    "takes it from the environment. May be given several times.",
)


@click.group(
    help="Look at dead letters, and send them back.\n\nPATH is kafka://host:port/topic.\n\n\b\nExamples:\n"
    "  penstock dlq show kafka://localhost:9092/orders.dead --limit 10\n"
    "  penstock dlq replay kafka://host:9093/orders.dead --client security.protocol=SSL"
)
def dlq() -> None:
    """Hold the commands."""


@dlq.command(help="Print dead letters, a JSON line each, without taking them.")
@click.argument("path")
@click.option("--limit", default=None, type=click.IntRange(1), help="At most so many.")
@_client
def show(path: str, limit: int | None, client: tuple[str, ...]) -> None:
    """Print dead letters."""
    from penstock.kafka.replay import letters_of
    from penstock.streams.records import to_json

    try:
        for letter in letters_of(path, limit=limit, client=_settings(client)):
            readable = {name: _text(value) for name, value in letter.items()}
            click.echo(to_json(readable).decode())
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


@dlq.command(help="Send dead letters back to the topics they come from, each once.")
@click.argument("path")
@click.option("--limit", default=None, type=click.IntRange(1), help="At most so many.")
@_client
def replay(path: str, limit: int | None, client: tuple[str, ...]) -> None:
    """Send dead letters back."""
    from penstock.kafka import replay as back

    try:
        click.echo(f"{back.replay(path, limit=limit, client=_settings(client))} sent back")
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _settings(given: tuple[str, ...]) -> dict[str, str]:
    """Read settings of the client."""
    for one in given:
        if not one.partition("=")[0] or "=" not in one:
            raise click.BadParameter(f"{one.partition('=')[0]!r} is no NAME=VALUE", param_hint="--client")
    return {name: value for name, _, value in (one.partition("=") for one in given)}


def _text(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value  # as base64

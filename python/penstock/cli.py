"""The command line: `penstock serve TARGET`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock import __version__
from penstock.deploying.commands import deploy
from penstock.errors import GraphError, MLRunInvalidArgumentError, PenstockError
from penstock.kafka.commands import dlq
from penstock.plotting.draw import TEXTS
from penstock.starting import end_with_parent, ended_by
from penstock.targets import TargetError, load_target, load_target_anew

_EXAMPLES = """\b
TARGET is file.py[:name] or package.module[:name]; without a name it is fn,
else the only serving function in the module.

\b
Examples:
  penstock serve iris.py
  penstock serve iris.py:fn --port 9000
  penstock serve my.package.graphs:fraud --host 0.0.0.0
"""


@click.group(help="Serve event graphs written in Python from a compiled core.")
@click.version_option(__version__, prog_name="penstock")
def main() -> None:
    """Read the command line."""


_SERVE_EXAMPLES = """\b
More examples:
  penstock serve iris.py --grpc-port 8081 --workers 4
  penstock serve iris.py --token-file tokens.txt --cors-origin https://example.org
  PENSTOCK_TOKEN=s3cret penstock serve iris.py --host 0.0.0.0
  penstock serve iris.py --tls-cert server.pem --tls-key server.key

SIGHUP reads TARGET anew and puts its graph in place of the one that is served.
GET /metrics is what Prometheus reads, GET / a page for a browser. With a token all but health needs it, as
"Authorization: Bearer TOKEN".
"""
F = TypeVar("F", bound=Callable[..., Any])
_SECONDS = click.FloatRange(min=0, min_open=True)
_BYTES = click.IntRange(min=1)


def _option(name: str, kind: Any, default: Any, text: str) -> Callable[[F], F]:
    return click.option(name, type=kind, default=default, show_default=True, help=text)


@main.command(help=f"Serve a function over HTTP and gRPC until SIGTERM or SIGINT.\n\n{_EXAMPLES}\n{_SERVE_EXAMPLES}")
@click.argument("target")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--grpc-port", default=None, type=click.IntRange(0, 65535), help="Port for gRPC; without, there is none.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes that serve on the one port; those that die are replaced.",
)
@click.option("--watch", is_flag=True, help="Read TARGET anew when a source in its folder changes; for development.")
@click.option("--function", "current_function", default=None, help="Run this child function alone.")
@click.option("--token", multiple=True, help="Bearer token that callers need; seen by who lists processes.")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False), help="File of such tokens, one a line; any will do."
)
@click.option("--model-control", is_flag=True, help="Let callers load and unload the graph's models; needs a token.")
@click.option("--tls-cert", type=click.Path(), help="Certificate with its chain, PEM; with it both ports speak TLS.")
@click.option("--tls-key", type=click.Path(), help="The certificate's key, PEM.")
@click.option("--tls-client-ca", type=click.Path(), help="Authorities of certificates that clients must show, PEM.")
@click.option("--cors-origin", multiple=True, help="Origin whose pages may ask, https://host; may be repeated.")
@_option("--deadline", _SECONDS, 30.0, "Seconds that a request may take.")
@_option("--drain-timeout", click.FloatRange(min=0), 30.0, "Seconds to answer what has come, once told to stop.")
@_option("--hang-timeout", click.FloatRange(min=0), 60.0, "Seconds that a handler may hold the GIL; 0 for ever.")
@_option("--max-body", _BYTES, 16 * 2**20, "Largest body of a request, in bytes.")
@_option("--max-message", _BYTES, 64 * 2**20, "Largest message over gRPC, in bytes.")
@_option("--max-connections", click.IntRange(min=1), 1024, "Connections open at once, in each process.")
@_option("--header-timeout", _SECONDS, 10.0, "Seconds for a request's head.")
@_option("--body-timeout", _SECONDS, 30.0, "Seconds for a body that comes slowly.")
@_option("--idle-timeout", _SECONDS, 60.0, "Seconds between requests.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged to standard error, with its time; without, warnings and errors as they are.",
)
def serve(  # noqa: PLR0917  # an argument an option
    target: str,
    host: str,
    port: int,
    grpc_port: int | None,
    workers: int,
    watch: bool,
    current_function: str | None,
    token_file: str | None,
    log_level: str | None,
    **options: Any,
) -> None:
    """Load a target and serve it; with several workers, have other processes do so."""
    from penstock.serve_options import ServeOptions, tokens_of
    from penstock.worker import worker_of

    worker = worker_of(os.environ)
    end_with_parent(os.environ)
    try:
        if token_file:
            options["token"] += tokens_of(token_file)
        checked = ServeOptions.of(**options)
    except MLRunInvalidArgumentError as error:
        raise click.UsageError(str(error)) from error
    _log(log_level)
    if watch and worker is None:
        from penstock.watching import Watching, hang_up

        Watching(target, hang_up).start()
    try:
        if workers > 1 and worker is None:
            from penstock.supervisor import supervise

            sys.exit(supervise(workers=workers, host=host, port=port, grpc_port=grpc_port, options=checked))
        with ended_by(signal.SIGTERM, signal.SIGINT):  # until the server hears them
            function, module = load_target(target)
            function.serve(
                host,
                port,
                grpc_port=grpc_port,
                namespace=module,
                current_function=current_function,
                worker=worker,
                renew=lambda: load_target_anew(target),
                **options,
            )
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _log(level: str | None) -> None:
    if level is None:
        return
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("penstock").setLevel(level.upper())


@main.command(help=f"Draw a function's graph.\n\n{_EXAMPLES}")
@click.argument("target")
@click.option(
    "-o", "--output", default=None, type=click.Path(dir_okay=False), help="Where to write it; without, it is printed."
)
@click.option(
    "--format", "form", default=None, help="svg (the default), mermaid or dot; Graphviz draws png, pdf and others."
)
@click.option("--direction", default="TB", show_default=True, type=click.Choice(["TB", "LR"]), help="Top down or not.")
def plot(target: str, output: str | None, form: str | None, direction: str) -> None:
    """Load a target and draw its graph."""
    try:
        function, _ = load_target(target)
        if function.spec.graph is None:
            raise GraphError("there is no graph to draw; write fn.set_topology() and add steps")
        if output is None and (form or "svg") not in TEXTS:
            raise click.UsageError(f"{form} is no text to print; say where to write it: -o graph.{form}")
        drawing = function.spec.graph.plot(output, form if output else form or "svg", rankdir=direction)
        if output is None:
            click.echo(str(drawing), nl=False)
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except (PenstockError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


@main.command(help=f"Say what is wrong with a function, without running it.\n\n{_EXAMPLES}")
@click.argument("target")
def check(target: str) -> None:
    """Load a target and check it: a line for each problem, exit 1 if there are any."""
    from penstock.checking import problems_of, summary_of

    try:
        function, module = load_target(target)
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    problems = problems_of(function, module)
    for line in problems:
        click.echo(line)
    if problems:
        sys.exit(1)
    click.echo(summary_of(function))


@main.command(help=f"Send the rows of files through a graph; write the answers.\n\n{_EXAMPLES}")
@click.argument("target")
@click.option(
    "--input", "inputs", required=True, multiple=True, help="CSV, Parquet or JSON lines; a file or a pattern."
)
@click.option("--output", required=True, help="A .csv, .parquet or .jsonl file.")
@click.option("--path", default="/", show_default=True, help="The events' path, such as /v2/models/NAME/infer.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Rows in one event's body.")
@click.option("--as-lists", is_flag=True, help="Rows are lists of values, not dicts.")
@click.option("--nest-under-inputs", is_flag=True, help='A body is {"inputs": rows}.')
@click.option("--concurrency", default=16, show_default=True, type=click.IntRange(1), help="Events under way at once.")
@click.option("--restart", is_flag=True, help="Begin anew, over what an earlier run has left.")
def run(target: str, inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Load a target and run it as a job."""
    from penstock.offline.command import run_job

    try:
        function, module = load_target(target)
        sys.exit(run_job(function.to_job(namespace=module), list(inputs), output, **options))
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except (PenstockError, OSError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


@main.command(help=f"Run every function as a process, joined by Kafka.\n\n{_EXAMPLES}")
@click.argument("target")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="The root's port; others follow it."
)
@click.option("--kafka", default=None, help="The brokers of paths that name none, kafka:///topic: HOST:PORT.")
def up(target: str, host: str, port: int, kafka: str | None) -> None:
    """Load a target and supervise its functions."""
    from penstock.up import up as run_all

    try:
        function, _ = load_target(target)
        sys.exit(run_all(function, target, host=host, port=port, kafka=kafka))
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except PenstockError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


main.add_command(dlq)
main.add_command(deploy)

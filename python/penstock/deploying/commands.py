"""`penstock deploy`: writes what a target needs, and has it deployed if asked."""

from __future__ import annotations

import sys
from typing import Any

import click

from penstock.errors import PenstockError

_TARGETS = ("nuclio", "compose", "k8s", "kserve")
_HELP = """Write what a function needs elsewhere, or deploy it there.

\b
  nuclio   a folder a function: function.yaml, spec, source, models
  compose  compose.yaml and Dockerfiles, with Kafka if functions need it
  k8s      kubernetes.yaml, keda.yaml for functions that read Kafka, Dockerfiles
  kserve   kserve.yaml: a ServingRuntime and an InferenceService

\b
Examples:
  penstock deploy iris.py --to compose --apply
  penstock deploy nlp.py --to k8s --kafka kafka:9092 --image registry.example.com/nlp:1
  penstock deploy iris.py --to nuclio --output build/iris
"""


@click.command(help=_HELP)
@click.argument("target")
@click.option("--to", "where", required=True, type=click.Choice(_TARGETS), help="Where it is to run.")
@click.option("--output", default=None, type=click.Path(file_okay=False), help="Folder to write; deploy/<target>.")
@click.option("--apply", is_flag=True, help="Deploy what was written, with the target's own tool.")
@click.option("--image", default="", help="Name of the image, with its registry.")
@click.option("--namespace", default="", help="Namespace in Kubernetes.")
@click.option("--python", default=None, help="Version of Python in the image; by default this one.")
@click.option("--kafka", default="", help="Brokers of queues that name no stream: HOST:PORT.")
@click.option("--include", multiple=True, help="File or folder to carry, relative to the source; may be repeated.")
@click.option("--wheel", default="", help="Wheel of penstock to install, instead of the released one.")
@click.option("--dashboard", default="", help="URL of Nuclio's dashboard, to deploy there instead of by nuctl.")
def deploy(target: str, where: str, output: str | None, apply: bool, **options: Any) -> None:
    """Load a target and deploy it."""
    from penstock.deploying import deploy as deploy_function
    from penstock.targets import TargetError, load_target

    given = {name: value for name, value in options.items() if value}
    try:
        function, module = load_target(target)
        place = deploy_function(function, where, output, apply=apply, watch=True, module=vars(module), options=given)
    except TargetError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    except (PenstockError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    click.echo(place)

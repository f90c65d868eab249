"""`jetpost config`: check a configuration, print its reference or its schema."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from jetpost.cli.config.reference import reference
from jetpost.config.load import ConfigurationError, configuration_model, load
from jetpost.process.remarks import faults_of, remarks_of

EXIT_CONFIGURATION = 78

config_app = typer.Typer(no_args_is_help=True, add_completion=False)


@config_app.command()
def check(file: Annotated[Path, typer.Argument(help="The configuration (YAML).")]) -> None:
    """Check FILE together with the JETPOST_… variables of the environment; all mistakes are printed at once."""
    try:
        settings = load(file, os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    sections = settings.by_name()
    for remark in remarks_of(sections):
        typer.echo(f"{file}: note: {remark}")
    for fault in (faults := faults_of(sections)):
        typer.echo(f"{file}: {fault}", err=True)
    if faults:
        raise typer.Exit(EXIT_CONFIGURATION)
    typer.echo(f"{file}: no mistakes")


@config_app.command("reference")
def print_reference() -> None:
    """Print every value that can be set, with its type, limits, default and meaning, as Markdown."""
    typer.echo(reference(configuration_model()), nl=False)


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the configuration file."""
    typer.echo(json.dumps(configuration_model().model_json_schema(), indent=2))

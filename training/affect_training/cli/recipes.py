"""affect-train list, show: what can be trained, and with which settings."""

import json

import click
from rich.table import Table

from affect.plugins import PluginHost
from affect_training.cli.common import console
from affect_training.config import run_config


@click.command("list")
def list_recipes() -> None:
    """List all recipes."""
    table = Table("recipe", "what", "published", "from")
    host = PluginHost()
    for recipe in host.recipes:
        table.add_row(recipe.name, recipe.summary, recipe.published, str(host.recipes.provenance(recipe.name)))
    console().print(table)


@click.command()
@click.argument("recipe")
def show(recipe: str) -> None:
    """Show a recipe's source and settings."""
    spec = PluginHost().recipes.get(recipe)
    click.echo(f"{spec.name}: {spec.summary}\nsource: {spec.source}\npublished: {spec.published or 'nothing, our own'}")
    if spec.parts:
        click.echo(f"equal vote of its parts, test-time views: {spec.views}")
        click.echo(json.dumps({name: dict(part) for name, part in spec.parts.items()}, indent=2))
        return
    starts = ", ".join(["none", "FILE.safetensors", *(f"{scheme}[:PLACE]" for scheme in spec.inits)])
    click.echo(f"architecture: {spec.architecture}\ninit: {starts}; {spec.init} by default")
    click.echo(json.dumps(run_config(spec).model_dump(mode="json"), indent=2))

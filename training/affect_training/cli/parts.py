"""Ensemble recipes: their parts as runs that can be trained, and the vote of these once they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from affect.errors import AffectError, SettingsError
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect_training.cli.ensemble import ensemble
from affect_training.cli.export import export
from affect_training.config import RunConfig, run_config
from affect_training.run_record import MEMBERS_JSON


@dataclass(frozen=True, slots=True)
class Part:
    """One run of an ensemble recipe."""

    name: str
    recipe: RecipeSpec
    config: RunConfig


def parts_of(host: PluginHost, spec: RecipeSpec, changes: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return the runs of an ensemble recipe, each known to have a network and a kind of start that it knows.

    Args:
        host: The plugins.
        spec: A recipe with parts.
        changes: Tables as in a run file, later ones winning. They change all parts, save what tells a part from the
            others; a start changes the parts that know it. `parts.NAME` holds what is for one part alone.

    Raises:
        SettingsError: There is no such part, a part cannot be built so, or none knows the start; names the part. Or
            what is said of all parts is what each says for itself.
    """
    from affect_training.network import check_init, check_network

    for table in changes:
        for name, own in table.get("parts", {}).items():
            if not isinstance(own, Mapping):
                raise SettingsError(f"parts.{name} is a table, [parts.{name}], not {own!r}")
    named = {name for table in changes for name in table.get("parts", {})}
    if unknown := sorted(named - set(spec.parts)):
        raise SettingsError(f"{spec.name} has the parts {', '.join(spec.parts)}, not {', '.join(unknown)}")
    _check_shared(spec, changes)
    found = []
    for name, given in spec.parts.items():
        recipe = host.recipes.get(given["recipe"])
        own = {key: table for key, table in given.items() if key != "init"}
        shared = [_for_all(table, recipe) for table in changes]
        alone = [table["parts"][name] for table in changes if name in table.get("parts", {})]
        start = {"init": given["init"]} if "init" in given else {}
        try:
            config = run_config(recipe, start, *shared, own, *alone)
            check_init(recipe, config.init)
            check_network(recipe, config)
        except AffectError as exc:
            raise SettingsError(f"{spec.name}, part {name}: {exc.message}") from exc
        found.append(Part(name, recipe, config))
    init = next((table["init"] for table in reversed(changes) if table.get("init") is not None), None)
    if init is not None and not any(part.config.init == init for part in found):
        raise SettingsError(f"--init {init}: no part of {spec.name} knows it")
    return found


def check_starts(spec: RecipeSpec, parts: Sequence[Part]) -> None:
    """Read the start of each part, downloads too, before the first one trains for hours; equal ones once.

    Raises:
        AffectError: A start cannot be had or does not fit; names the part.
    """
    from affect_training.network import build_model, initialise

    done: list[tuple[Any, ...]] = []
    for part in parts:
        start = (part.recipe.architecture, part.config.model, part.config.init)
        if part.config.init == "none" or start in done:
            continue
        try:
            initialise(build_model(part.recipe.architecture, part.config.model), part.recipe, part.config.init)
        except AffectError as exc:
            raise SettingsError(f"{spec.name}, part {part.name}: {exc.message}") from exc
        done.append(start)


def _check_shared(spec: RecipeSpec, changes: Sequence[Mapping[str, Any]]) -> None:
    from affect_training.config import TABLES

    for table in TABLES:
        for name in {name for change in changes for name in change.get(table, {})}:
            if all(name in part.get(table, {}) for part in spec.parts.values()):
                first = next(iter(spec.parts))
                raise SettingsError(
                    f"{table}.{name} is what tells the parts of {spec.name} apart: set parts.PART.{table}.{name}, as "
                    f"parts.{first}.{table}.{name}, and so on for {', '.join(spec.parts)}"
                )


def _for_all(table: Mapping[str, Any], recipe: RecipeSpec) -> dict[str, Any]:
    from affect_training.network import check_init

    kept = {key: value for key, value in table.items() if key != "parts"}
    try:
        check_init(recipe, kept.get("init", "none"))
    except SettingsError:
        del kept["init"]
    return kept


def vote_of_parts(
    spec: RecipeSpec,
    folder: Path,
    data: Path | None,
    device: str,
    *,
    holdout: float,
    about: str | None,
    licence: str | None,
) -> None:
    """Export each part's run beside it, and write their equal vote to `folder/members.json`.

    Args:
        spec: A recipe with parts.
        folder: Holds one run a part, under the part's name.
        data, device, holdout: As for `affect-train ensemble`.
        about, licence: As for `affect-train export`.
    """
    context = click.get_current_context()
    weights = [folder / f"{name}.safetensors" for name in spec.parts]
    for run, file in zip(spec.parts, weights, strict=True):
        source = str(folder / run)
        context.invoke(export, source=source, out=file, about=about, licence=licence, data=data, device=device)
    context.invoke(
        ensemble,
        members=tuple(map(str, weights)),
        data=data,
        holdout=holdout,
        tta=spec.views,
        vote="soft",
        draws=0,
        keep="all",
        out=folder / MEMBERS_JSON,
        device=device,
    )

"""The vote of an ensemble recipe's parts, once they are trained."""

from pathlib import Path

import click

from affect.registry import RecipeSpec
from affect_training.cli.ensemble import ensemble
from affect_training.cli.export import export


def vote_of_parts(spec: RecipeSpec, folder: Path, data: Path | None, device: str) -> None:
    """Export each part's run beside it, and write their equal vote to `folder/members.json`.

    Args:
        spec: A recipe with parts.
        folder: Holds one run a part, under the part's name.
        data, device: As for `affect-train ensemble`.
    """
    context = click.get_current_context()
    weights = [folder / f"{name}.safetensors" for name in spec.parts]
    for run, file in zip(spec.parts, weights, strict=True):
        context.invoke(export, source=str(folder / run), out=file, data=data, device=device)
    context.invoke(
        ensemble,
        members=tuple(map(str, weights)),
        data=data,
        tta=spec.views,
        vote="soft",
        draws=0,
        keep="all",
        out=folder / "members.json",
        device=device,
    )

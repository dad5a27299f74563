"""affect-train ensemble: find how backends vote best together, and write it as a configuration of the service."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from affect.errors import SettingsError
from affect_training.cli.common import (
    CACHE,
    console,
    data_option,
    device_option,
    existing,
    holdout_option,
    prepare_output,
)

if TYPE_CHECKING:
    from affect.inference.voting import Vote
    from affect_training.ensemble import Ensemble, Figures
    from affect_training.evaluation.tta import Tta

SPLIT = "PublicTest"


@click.command()
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@data_option
@holdout_option
@click.option(
    "--tta",
    default="mirror",
    show_default=True,
    type=click.Choice(["none", "mirror", "shift", "shift-mirror", "augmented"]),
    help="Views that the search and the tables see. The service has the face, or it and its mirror image: what is "
    "written has the figures and temperatures of these.",
)
@click.option(
    "--vote",
    default="soft",
    show_default=True,
    type=click.Choice(["soft", "weighted", "majority"]),
    help="What is written; the table has all.",
)
@click.option(
    "--search", "draws", default=2000, show_default=True, type=click.IntRange(min=0), help="Weights tried at random."
)
@click.option(
    "--keep",
    default="best",
    show_default=True,
    metavar="best|all|N",
    help="Members written: those up to the highest accuracy, all, or the first N; the table has all.",
)
@click.option("--seed", default=0, show_default=True, help="Of the search and of the halves it is judged on.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="FILE.json, or FILE.toml with the .json beside it.",
)
@device_option
def ensemble(
    members: tuple[str, ...],
    data: Path | None,
    holdout: float,
    tta: "Tta",
    vote: "Vote",
    draws: int,
    keep: str,
    seed: int,
    out: Path,
    device: str,
) -> None:
    """Find the vote of MEMBERs (backends or weights files) on PublicTest and write it for the backend `ensemble`.

    affect serve --backend FILE.json
    """
    import numpy as np

    from affect.inference.device import Device
    from affect_training.data import load_faces
    from affect_training.data.holdout import hold_out
    from affect_training.ensemble import best_prefix, find, judged_by, keep_first, voted
    from affect_training.ensemble_answers import ask_views
    from affect_training.ensemble_file import check_manifest, manifest_path, write_manifest
    from affect_training.evaluation.metrics import softmax
    from affect_training.evaluation.tta import served_views
    from affect_training.held_out import check_holdout
    from affect_training.provenance import git_commit, package_versions
    from affect_training.teachers import installed_host

    if len(set(members)) < len(members):
        raise SettingsError(f"each member votes once; named twice: {', '.join(_twice(members))}")
    if len(members) < 2:
        raise SettingsError("an ensemble has at least two members; name backends or weights files")
    manifest = manifest_path(out)
    if keep not in ("best", "all") and not (keep.isdigit() and int(keep)):
        raise SettingsError(f"--keep is best, all or a number of members, not {keep!r}")
    path = existing(data)
    for file in {out, manifest}:
        prepare_output(file)
    faces = hold_out(load_faces(path, CACHE), holdout)
    split = faces.split(SPLIT)
    host, where, screen = installed_host(), Device(device), console()
    check_holdout(members, host, faces.sha256, holdout)
    answers = []
    for name in members:
        with screen.status(f"asking {name}"):
            answers.append(ask_views(name, split.images, where, tta, cache=CACHE, host=host))
    stacked = np.stack([answer.all_views for answer in answers])
    servable = np.stack([answer.served.probabilities.astype(np.float64) for answer in answers])
    with screen.status("searching"):
        found = find(stacked, split.labels, vote=vote, draws=draws, seed=seed)
    screen.print(_kinds(members, found, tta))
    screen.print(_prefixes(members, found))
    _say_gain(found)
    kept = best_prefix(found) if keep == "best" else len(found.order) if keep == "all" else int(keep)
    found = keep_first(found, kept)
    click.echo(f"kept: {', '.join(members[k] for k in found.order)}")
    mirror = served_views(tta) == 2
    if tta not in ("none", "mirror"):
        found = judged_by(found, servable, split.labels)
        click.echo(
            f"as the service asks them, {'face and mirror image' if mirror else 'the face alone'}: accuracy "
            f"{found.prefixes[-1].accuracy:.4f}"
        )
    selection = {
        "split": SPLIT,
        "tta": tta,
        "data_sha256": faces.sha256,
        "candidates": list(members),
        "draws": draws,
        "keep": keep,
        "seed": seed,
        "device": where.description,
        "packages": package_versions(),
        "git_commit": git_commit(),
    }
    some = slice(0, 256)
    chosen, temperature = list(found.order), found.prefixes[-1].temperature
    vote_of_some = voted(servable[chosen, some], np.asarray(found.weights), vote)
    expected = softmax(np.log(np.clip(vote_of_some, 1e-9, None)), temperature)

    def check(written: Path) -> float:
        return check_manifest(written, expected, split.images[some], where, host)

    given = [answer.served for answer in answers]
    gap = write_manifest(out, found, given, mirror=mirror, selection=selection, check=check)
    click.echo(f"{manifest}: loaded as the service does; 256 faces answered as here (largest difference {gap:.4f})")
    click.echo(f"affect serve --backend {manifest}")
    if out.suffix == ".toml":
        click.echo(f"affect --config {out} serve")


def _kinds(members: tuple[str, ...], found: "Ensemble", tta: str) -> Table:
    table = _table(f"{SPLIT}, n={found.prefixes[0].n}, tta {tta}", "who")
    for name, figures in zip(members, found.single, strict=True):
        table.add_row(_short(name), *_row(figures))
    table.add_section()
    for vote, figures in found.votes.items():
        flatters = ", as searched" if vote == "weighted" else ""
        table.add_row(f"all, {vote}{flatters}", *_row(figures))
    return table


def _prefixes(members: tuple[str, ...], found: "Ensemble") -> Table:
    table = _table(f"{found.vote} vote, the most useful first", "members", "weight")
    total = sum(found.weights)
    for count, (k, weight, figures) in enumerate(zip(found.order, found.weights, found.prefixes, strict=True)):
        table.add_row(f"{'+ ' if count else ''}{_short(members[k])}", f"{weight / total:.3f}", *_row(figures))
    return table


def _say_gain(found: "Ensemble") -> None:
    if found.gain is None:
        return
    gain = found.gain
    (low, high), (cross_low, cross_high) = gain.found_ci95, gain.cross_fitted_ci95
    click.echo(
        f"searched weights against equal ones: {gain.found:+.4f} (95 % {low:+.4f} to {high:+.4f}) on the faces they "
        f"were searched on, {gain.cross_fitted:+.4f} ({cross_low:+.4f} to {cross_high:+.4f}) cross-fitted"
    )
    if cross_low <= 0:
        verdict = "cannot be told from chance; the soft vote is the safer choice"
    else:
        verdict = "holds on faces the search did not see"
    click.echo(f"the gain {verdict}")


def _table(title: str, *first: str) -> Table:
    columns = ("accuracy", "95 %", "macro-F1", "macro recall", "NLL", "ECE", "temperature")
    return Table(*first, *columns, title=title, title_justify="left")


def _row(figures: "Figures") -> list[str]:
    low, high = figures.accuracy_ci95
    numbers = (figures.macro_f1, figures.macro_recall, figures.nll, figures.ece, figures.temperature)
    return [f"{figures.accuracy:.4f}", f"{low:.4f}-{high:.4f}", *(f"{number:.4f}" for number in numbers)]


def _short(name: str) -> str:
    return Path(name).name if "/" in name else name


def _twice(members: tuple[str, ...]) -> list[str]:
    return sorted({name for name in members if members.count(name) > 1})

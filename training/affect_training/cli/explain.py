"""affect-train explain: what a network looks at."""

from pathlib import Path

import click

from affect.labels import EMOTIONS
from affect_training.cli.common import device_option, prepare_output
from affect_training.explain.kinds import OF_FACES, WHAT


@click.command()
@click.argument("backend")
@click.argument("pictures", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@click.option("--what", help=f"Of {','.join(WHAT)}; all that the pictures allow by default.")
@click.option(
    "--emotion",
    type=click.Choice([e.value for e in EMOTIONS]),
    help="Explain this one; each face's most probable by default.",
)
@click.option("--cropped", is_flag=True, help="The pictures are faces already; otherwise the largest is looked for.")
@click.option("--layer", help="Layer of Grad-CAM; the last one with places by default.")
@click.option(
    "--layers", type=click.IntRange(2), help="Draw the maps of so many layers, evenly spread; all by default."
)
@click.option("--seed", default=0, show_default=True, help="Of DeepDream.")
@device_option
def explain(
    backend: str,
    pictures: tuple[Path, ...],
    out: Path,
    what: str | None,
    emotion: str | None,
    cropped: bool,
    layer: str | None,
    layers: int | None,
    seed: int,
    device: str,
) -> None:
    """Explain BACKEND, a registered name or the path of a .safetensors file, on PICTURES or folders of them.

    Writes PNG and SVG files, explain.json, and the page explain.html. Without pictures: the filters of the first
    layer, and DeepDream from noise.
    """
    from affect.errors import SettingsError
    from affect.pictures import load_backend
    from affect_training.explain.faces import read_crops
    from affect_training.explain.network import Opened
    from affect_training.explain.write import ExplainSettings
    from affect_training.explain.write import explain as write

    if what is None:
        chosen = tuple(w for w in WHAT if pictures or w not in OF_FACES)
    else:
        chosen = tuple(dict.fromkeys(w.strip() for w in what.split(",")))
        unknown = [w for w in chosen if w not in WHAT]
        if unknown:
            raise SettingsError(f"--what: expected some of {','.join(WHAT)}, got {','.join(unknown)}")
    prepare_output(out / "explain.html")
    classifier = load_backend(backend, device=device)
    network = Opened(classifier, backend)
    faces, problems = (
        read_crops(pictures, network.spec, classifier.device, cropped=cropped, out=out) if pictures else ([], [])
    )
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    number = None if emotion is None else [e.value for e in EMOTIONS].index(emotion)
    page = write(network, faces, out, ExplainSettings(chosen, number, layer, seed, layers), click.echo)
    click.echo(str(page))

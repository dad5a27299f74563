"""affect-train models: the cards of all backends and the table over them, measured anew."""

import json
from pathlib import Path
from typing import Any

import click

from affect.errors import SettingsError
from affect_training.cli.card import card
from affect_training.cli.common import data_option, existing
from affect_training.cli.evaluate import evaluate
from affect_training.cli.fullframe import fullframe


@click.command()
@click.argument("backends", nargs=-1, metavar="[BACKEND]...")
@data_option
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder: README.md, NAME.md."
)
@click.option("--measure/--no-measure", default=True, help="Measure, or write from the figures that are there.")
def models(backends: tuple[str, ...], data: Path | None, out: Path, measure: bool) -> None:
    """Measure BACKENDs (by default all with weights) on PublicTest; write the model cards and the table.

    Those that were measured before stay in the table.

    The figures, as of `evaluate` and `fullframe`, go to OUT/figures; milliseconds are of one CPU core.
    """
    from affect_training.report.facts import find_facts, manifest_by_name
    from affect_training.report.overview import overview, read_row
    from affect_training.teachers import installed_host

    host = installed_host()
    names = tuple(s.name for s in host.backends if host.weights_of(s.name) or manifest_by_name(s.name, host))
    if unknown := sorted(set(backends) - set(names)):
        raise SettingsError(f"no weights of {', '.join(unknown)}; there are those of {', '.join(names)}")
    chosen = backends or names
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    context = click.get_current_context()
    path = existing(data) if measure else None
    rows = []
    for name in names:
        files = {kind: figures / f"{name}.{kind}.json" for kind in ("single", "mirror", "unseen", "whole", "speed")}
        if measure and name in chosen:
            context.invoke(evaluate, backend=name, data=path, tta="none", json_file=files["single"], robustness=True)
            context.invoke(evaluate, backend=name, data=path, tta="mirror", json_file=files["mirror"])
            served = "mirror" if manifest_by_name(name, host) else "none"
            context.invoke(evaluate, backend=name, data=path, tta=served, json_file=files["unseen"], unseen=True)
            context.invoke(fullframe, backend=name, data=path, unseen=True, json_file=files["whole"])
            files["speed"].write_text(json.dumps(_speed(name), indent=2) + "\n", encoding="utf-8")
        if name not in chosen and not all(file.is_file() for file in files.values()):
            continue
        missing = [str(file) for file in files.values() if not file.is_file()]
        if missing:
            raise SettingsError(f"--no-measure: there is no {', '.join(missing)}")
        evaluations = tuple(files[kind] for kind in ("single", "mirror", "unseen", "whole"))
        context.invoke(card, weights=name, evaluations=evaluations, out=out / f"{name}.md")
        rows.append(read_row(find_facts(name, host), figures))
    (out / "README.md").write_text(overview(rows), encoding="utf-8")
    click.echo(str(out / "README.md"))


def _speed(name: str) -> dict[str, Any]:
    import torch

    from affect.inference.device import Device
    from affect_training.teachers import installed_host
    from affect_training.timing import ms_a_face

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        device = Device("cpu")
        backend = installed_host().create_backend(name, device)
        found = {f"batch_{batch}": round(ms_a_face(backend, device, batch), 3) for batch in (1, 8)}
        return {**found, "device": device.description}
    finally:
        torch.set_num_threads(threads)

"""affect-train export: what a run has learnt, as files that others load."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from affect.errors import CheckpointError, SettingsError
from affect_training.cli.common import CACHE, data_option, device_option, existing, holdout_option, prepare_output

if TYPE_CHECKING:
    from affect_training.data import FaceData


@click.command()
@click.argument("source", metavar="RUN_OR_WEIGHTS")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="NAME.safetensors (with NAME.json and NAME.publictest.safetensors) or NAME.onnx.",
)
@click.option("--int8", is_flag=True, help="With NAME.onnx: write NAME.int8.onnx too, and measure both on PublicTest.")
@click.option(
    "--about",
    help="What the weights have seen and under which licence, in words; told from the run by default, needed when that "
    "was trained on other data than FER2013.",
)
@click.option("--licence", help="Terms of the weights file; told from the run by default.")
@data_option
@holdout_option
@device_option
def export(
    source: str,
    out: Path,
    int8: bool,
    about: str | None,
    licence: str | None,
    data: Path | None,
    holdout: float,
    device: str,
) -> None:
    """Write RUN_OR_WEIGHTS as safetensors with a sidecar, or as ONNX.

    RUN_OR_WEIGHTS is the folder of a run, a .safetensors file, or a registered backend that has one. A run is
    written as safetensors in any case; its ONNX file is made of that. It knows its own share of held-out faces.
    """
    if out.suffix not in (".safetensors", ".onnx"):
        raise SettingsError(f"-o {out}: expected NAME.safetensors or NAME.onnx")
    if int8 and out.suffix != ".onnx":
        raise SettingsError(f"-o {out}: --int8 goes with NAME.onnx")
    prepare_output(out)
    from affect_training.teachers import installed_host, names_run

    if names_run(source):
        weights = out.with_suffix(".safetensors")
        faces = _export_run(Path(source), weights, about, licence, existing(data), device)
    else:
        found = installed_host().weights_of(source)
        if found is None:
            raise SettingsError(f"{source}: this backend has no weights file of its own")
        if out.suffix == ".safetensors" or about or licence:
            raise SettingsError(f"{source} is exported already; name the folder of a run, or -o NAME.onnx")
        weights, faces = found, None
    if out.suffix == ".onnx":
        _export_onnx(weights, out, int8, data, holdout, faces)


def _export_run(
    folder: Path, weights: Path, about: str | None, licence: str | None, data: Path, device: str
) -> "FaceData":
    """Write the weights and their sidecar; returns the run's faces, with the held-out ones as PublicTest."""
    from affect.inference.device import Device
    from affect_training.data import load_faces
    from affect_training.export.weights import export as write
    from affect_training.run import open_run

    fitted = _has_fit(weights)
    run = open_run(folder, load_faces(data, CACHE), Device(device))
    sidecar = write(run, weights, data=about, licence=licence)
    for name, metric in sidecar.metrics.items():
        interval = f"  95 % {metric.ci95[0]:.4f}-{metric.ci95[1]:.4f}" if metric.ci95 else ""
        click.echo(f"{name:18} {metric.value:.4f}{interval}  ({metric.split}, n={metric.n})")
    click.echo(f"temperature        {sidecar.temperature}")
    click.echo(f"power              {sidecar.power}")
    click.echo(f"wrote {weights}, {sidecar.parameters:,} parameters")
    if not run.finished:
        click.echo(
            f"the run was cut after epoch {run.state.epoch}, up to {run.config.train.epochs} were planned: its "
            "learning rate may not have fallen yet"
        )
    if fitted and sidecar.learner is None:
        click.echo(
            "the weights that were there had a learner fit, which does not hold for these or their calibration: run "
            "`affect-train learner fit` again"
        )
    return run.data


def _has_fit(weights: Path) -> bool:
    from affect.inference.checkpoint import load_sidecar

    try:
        return load_sidecar(weights).learner is not None
    except CheckpointError:
        return False


def _export_onnx(
    weights: Path, out: Path, int8: bool, data: Path | None, holdout: float, faces: "FaceData | None"
) -> None:
    from affect_training.data import load_faces
    from affect_training.data.holdout import hold_out
    from affect_training.export.onnx import export_onnx, patches
    from affect_training.held_out import check_holdout
    from affect_training.teachers import installed_host

    if faces is None and (int8 or data is not None):
        faces = hold_out(load_faces(existing(data), CACHE), holdout)
        check_holdout([str(weights)], installed_host(), faces.sha256, holdout)
    real = patches() if faces is None else faces.split("PublicTest").images[:512]
    report = export_onnx(weights, out, real)
    click.echo(
        f"wrote {out}, {report.size / 1e6:.1f} MB, opset {report.opset}; largest difference of a logit from torch: "
        f"{report.random_error:.1e} on noise, {report.real_error:.1e} on {report.real_faces} "
        f"{'patches of a photograph' if faces is None else 'faces'}"
    )
    if int8 and faces is not None:
        from affect.inference.checkpoint import load_sidecar
        from affect_training.export.int8 import quantise

        twin = out.with_suffix(".int8.onnx")
        spec = load_sidecar(weights).input
        both = quantise(out, twin, spec, faces.split("Training"), faces.split("PublicTest"))
        for kind, found in (("float32", both.original), ("int8", both.quantised)):
            click.echo(
                f"{kind:8} accuracy {found.accuracy:.4f}  95 % {found.ci95[0]:.4f}-{found.ci95[1]:.4f}  "
                f"(PublicTest, n={found.n})  {found.size / 1e6:.1f} MB  {found.faces_per_s:.0f} faces/s"
            )
        click.echo(
            f"wrote {twin}; calibrated on {both.calibrated_on} Training faces; both say the same of "
            f"{both.agreement:.1%} of those of PublicTest"
        )

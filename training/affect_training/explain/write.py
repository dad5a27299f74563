"""`affect-train explain`: everything asked for, as PNG and SVG files, one page and one JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from affect.errors import SettingsError
from affect.labels import EMOTIONS
from affect_training.explain.attribution import gradcam, occlusion
from affect_training.explain.dream import dream
from affect_training.explain.faces import FaceCrop
from affect_training.explain.figures import activation_sheet, attribution_plot, dream_plot, filter_sheet
from affect_training.explain.kinds import OF_FACES, WHAT
from affect_training.explain.network import Opened, describe
from affect_training.report.page import Section, write_page
from affect_training.report.style import Plot

MOST_ON_PAGE = 24
"""Faces on the page; the files have all."""


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """What is explained, and how.

    Attributes:
        what: Of `kinds.WHAT`.
        emotion: Number of the emotion explained by Grad-CAM and occlusion; each face's most probable by default.
        layer: Of Grad-CAM; the last with places by default.
        seed: Of DeepDream.
        layers: Layers whose activation maps are drawn; all by default.
    """

    what: tuple[str, ...] = WHAT
    emotion: int | None = None
    layer: str | None = None
    seed: int = 0
    layers: int | None = None


@dataclass(slots=True)
class _Output:
    """Saves plots as they are made and remembers them for the page."""

    folder: Path
    progress: Callable[[str], None]
    sections: list[Section] = field(default_factory=list)

    def add(self, title: str, plots: Sequence[Plot], *, on_page: bool = True) -> None:
        for plot in plots:
            png, _ = plot.save(self.folder)
            self.progress(str(png))
        if plots and on_page:
            self.sections.append(Section(title, plots=tuple(plots)))


def explain(
    network: Opened,
    faces: Sequence[FaceCrop],
    out: Path,
    settings: ExplainSettings | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Explain a network, on its own and on faces.

    Args:
        network: The opened backend.
        faces: May be empty when `settings.what` needs none.
        out: Folder to write to; made when missing.
        settings: What and how.
        progress: Gets the path of each picture written.

    Returns:
        The page, `explain.html`.

    Raises:
        SettingsError: Something is asked for that needs a face, and there is none.
        BackendError: The network has no such layer.
    """
    settings = settings or ExplainSettings()
    needed = [what for what in settings.what if what in OF_FACES]
    if needed and not faces:
        raise SettingsError(f"{', '.join(needed)} need a face; name a picture, or --what filters,deepdream")
    out.mkdir(parents=True, exist_ok=True)
    output = _Output(out, progress)
    facts: dict[str, Any] = {"backend": network.name, "seed": settings.seed, "faces": []}
    if "filters" in settings.what:
        layer, kernels = network.first_filters()
        output.add("Filters", [filter_sheet(network.name, layer, kernels.numpy())])
    if "deepdream" in settings.what and not faces:
        output.add("DeepDream", [_dreamt(network, None, settings.seed)])
    for number, face in enumerate(faces):
        plots, found = _explain_face(network, face, settings)
        facts["faces"].append(found)
        output.add(face.path.name, plots, on_page=number < MOST_ON_PAGE)
    (out / "explain.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    page = out / "explain.html"
    left_out = max(0, len(faces) - MOST_ON_PAGE)
    note = f"{left_out} more faces are in the files beside this page." if left_out else ""
    write_page(page, f"{network.name}, explained", note, output.sections)
    return page


def _explain_face(network: Opened, face: FaceCrop, settings: ExplainSettings) -> tuple[list[Plot], dict[str, Any]]:
    with torch.no_grad():
        row = network.probabilities(face.crop)[0].cpu()
    emotion = int(row.argmax()) if settings.emotion is None else settings.emotion
    picture, probabilities = face.picture(), row.numpy()
    facts: dict[str, Any] = {
        "picture": face.path.name,
        "files": face.name,
        "probabilities": describe(row),
        "explained": EMOTIONS[emotion].value,
    }
    plots: list[Plot] = []
    title = face.path.name
    if "gradcam" in settings.what:
        found = gradcam(network, face.crop, emotion, settings.layer)
        facts["gradcam_layer"] = found.layer
        plots.append(attribution_plot("gradcam", picture, found, probabilities, emotion, face.name))
    if "occlusion" in settings.what:
        found = occlusion(network, face.crop, emotion)
        facts["occlusion_largest_loss"] = round(float(found.values.max()), 4)
        plots.append(attribution_plot("occlusion", picture, found, probabilities, emotion, face.name))
    if "activations" in settings.what:
        plots.append(activation_sheet(title, network.stages(face.crop), face.name, settings.layers))
    if "deepdream" in settings.what:
        plots.append(_dreamt(network, face, settings.seed))
    return plots, facts


def _dreamt(network: Opened, face: FaceCrop | None, seed: int) -> Plot:
    dreamt = dream(network, None if face is None else face.crop, seed=seed)
    with torch.no_grad():
        reached = network.probabilities(dreamt).diagonal().cpu().numpy().astype(np.float32)
    if face is None:
        return dream_plot(None, dreamt, reached, seed, network.name, "")
    return dream_plot(face.picture(), dreamt, reached, seed, face.path.name, face.name)

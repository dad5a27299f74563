"""Where the pretrained starts come from, for model cards: only what their packages and publications say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """A pretrained start of a recipe.

    Attributes:
        title: Name and version of what the weights came in.
        origin: Who made the network and where the package has it from.
        data: What the network was trained on, as far as its makers say.
        licence: Of the package and, where it is another, of the weights.
        caution: What a user of weights fine-tuned from it must know.
    """

    title: str
    origin: str
    data: str
    licence: str
    caution: str


STARTS = {
    "face-api": Start(
        title="npm package @vladmandic/face-api 1.7.15, model/face_recognition_model",
        origin="The package names face-api.js and face-api.js-models as the origin of its weights; the network and its "
        "layers are those of dlib_face_recognition_resnet_model_v1 (Davis King, 2017). Quantised to 8 bits there.",
        data="Not stated by the package. dlib's author on the original: about 3 million faces of 7,485 persons, about "
        "half from VGG Face and FaceScrub, the rest collected from the web.",
        licence="Package: MIT. The original's author says that he has released it into the public domain.",
        caution="These face sets were gathered from the web without the consent of the persons shown, for research.",
    ),
    "human": Start(
        title="npm package @vladmandic/human 3.3.6, models/faceres",
        origin="Based on HSE-FaceRes (Andrey Savchenko, HSE_FaceRec_tf), says the package. 16-bit floats there.",
        data="Not stated by the package. Its author's scripts train identities on VGGFace2, then age and gender on "
        "IMDB-Wiki and Adience.",
        licence="Package: MIT. The package names no separate licence of these weights.",
        caution="These face sets were gathered from the web without the consent of the persons shown, for research.",
    ),
    "imagenet": Start(
        title="torchvision, IMAGENET1K_V1 weights",
        origin="torchvision's reference training.",
        data="ImageNet-1k (ILSVRC 2012).",
        licence="torchvision: BSD-3-Clause; it leaves the terms of the training data to the user's judgement.",
        caution="ImageNet's pictures are for research and education that is not commercial.",
    ),
}


def licence_notes(init: str) -> str:
    """Return one paragraph about the start a run named with `--init`; empty for a run from scratch or a file."""
    start = STARTS.get(init.partition(":")[0])
    if start is None:
        return ""
    return f"Start: {start.title}. {start.origin} Data: {start.data} Licence: {start.licence} {start.caution}"

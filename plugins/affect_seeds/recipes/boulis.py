"""Boulis, Hemdan & Osama: a baseline from scratch and three pretrained networks at 197x197.

Their baseline (section 5.1) and their ResNet50 (5.2.1) repeat Khanzada, Bai & Celepcikay (arXiv:2004.11823), as they
say; where they are silent, that paper's notebooks (github.com/amilkh/cs230-fer) are followed: Nesterov momentum .9,
1,024 neurons, pixels over 255, and halving of the rate after 10 epochs without gain. Not its baseline's network, which
has a batch norm on the input, dropout of .2 among its 32-32-64-64 convolutions, and three pools; theirs has 32 filters
four times, two pools and "fifty percent dropout layers".
"""

from affect.registry import RecipeSpec
from affect_seeds.frozen import first_layers
from affect_seeds.provenance import INIT_NOTES

SOURCE = (
    "Joseph Boulis, Mohamed Hemdan and Ahmed Osama, Emotion Classification Using Deep Neural Networks, "
    "The American University in Cairo"
)

# Section 4.1: mirror, +-10 degrees, +-10 % zoom and shift.
AUGMENT = {"mirror": True, "rotation_deg": 10.0, "zoom": (0.9, 1.1), "shift": 0.1}
SGD = {
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "nesterov": True,
    "schedule": "plateau",
    "plateau_epochs": 10,
    "plateau_factor": 0.5,
    "watch": "accuracy",  # Khanzada's notebooks, whose work it repeats
}

AUC_BASELINE = RecipeSpec(
    name="auc-baseline",
    architecture="affect_seeds.boulis:AucBaseline",
    summary="Boulis et al., baseline from scratch: four 3x3x32 convolutions, FC 1024",
    source=SOURCE,
    published="64.0 %, 66.37 % with mirror + 7 augmented views (PrivateTest)",
    # "Fifty percent dropout layers": where is not said; here on both sides of the dense layer.
    model={"neurons": 1024, "dropout": 0.5},
    data={"normalise": "unit"},
    augment=AUGMENT,
    train={**SGD, "epochs": 150},  # Khanzada's notebook; the document prints none
)

FROZEN_LAYERS = 170  # section 5.2.1; in Keras' count, see affect_seeds.frozen


def _transfer(
    name: str, summary: str, published: str, model: dict[str, object], train: dict[str, object]
) -> RecipeSpec:
    return RecipeSpec(
        name=name,
        architecture="affect_seeds.transfer:Transfer",
        summary=summary,
        source=SOURCE,
        published=published,
        # 197 pixels, FC 4096 and 1024: section 5.2; each with dropout .5 is printed for VGG16 only (5.2.3).
        model={**model, "side": 197, "hidden": [4096, 1024], "dropout": 0.5},
        data={"normalise": "unit"},  # the network takes 0-1 and subtracts ImageNet's mean itself
        augment=AUGMENT,
        # Each was trained with and without class weights: --set class_weights=balanced for the other.
        train={"class_weights": "none", **train},
        inits={"imagenet": "affect_seeds.pretrained:imagenet", "backbone": "affect_seeds.pretrained:backbone"},
        init_notes=INIT_NOTES,
        init="imagenet",  # what is frozen must have learnt something
    )


# "The first 170 layers were frozen, but the rest of the network could still be trained": of keras-vggface's ResNet50
# all but the last batch norm (layer 170), the last sum and what follows.
AUC_RESNET50 = _transfer(
    "auc-resnet50",
    "Boulis et al., pretrained ResNet50 at 197 px, first 170 layers frozen",
    "73.2 %; in the table 72.65 %, with class weights 72.4 % (PrivateTest)",
    {"backbone": "resnet50"},
    {**SGD, "epochs": 122, "freeze": first_layers(FROZEN_LAYERS, squeeze=False)},
)

# "The same parameters used for the ResNet50 were used": here layer 170 lies in the third block of the third stage.
AUC_SENET50 = _transfer(
    "auc-senet50",
    "Boulis et al., pretrained SENet50 at 197 px, first 170 layers frozen",
    "72.54 %, with class weights 71.56 % (PrivateTest)",
    {"backbone": "legacy_seresnet50"},
    {**SGD, "epochs": 122, "freeze": first_layers(FROZEN_LAYERS, squeeze=True)},
)

# "We kept all the pre-trained layers frozen." Adam's rate is not printed: Keras' default, .001; nor is the batch.
AUC_VGG16 = _transfer(
    "auc-vgg16",
    "Boulis et al., pretrained VGG16 at 197 px, all convolutions frozen",
    "70.23 %, with class weights 69.2 % (PrivateTest)",
    # Khanzada's notebook flattens the last map, 6x6x512; "each with fifty percent dropout" are the two new layers.
    {"backbone": "vgg16", "flatten": True, "last_dropout": False},
    {
        "epochs": 100,
        "batch_size": 128,
        "optimizer": "adam",
        "lr": 0.001,
        "schedule": "constant",
        "freeze": ("backbone.",),
    },
)

# "Seven models": each pretrained network without and with class weights, and the baseline.
AUC_ENSEMBLE = RecipeSpec(
    name="auc-ensemble",
    architecture="",
    summary="Boulis et al., vote of seven: VGG16, SENet50, ResNet50, each without and with class weights, baseline",
    source=SOURCE,
    published="75.4 % with flip and seven augmented views (PrivateTest)",
    parts={
        **{
            name + suffix: {"recipe": f"auc-{name}", "train": {"class_weights": weights}}
            for name in ("vgg16", "senet50", "resnet50")
            for suffix, weights in (("", "none"), ("-cw", "balanced"))
        },
        "baseline": {"recipe": "auc-baseline"},
    },
    views="augmented",
)

RECIPES = (AUC_BASELINE, AUC_VGG16, AUC_SENET50, AUC_RESNET50, AUC_ENSEMBLE)

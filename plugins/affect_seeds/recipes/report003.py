"""The unsigned report "Emotion Detection from Images using Machine Learning" (Keras): two trials and VGG19.

It prints kernels (3x3), numbers of convolutions, optimiser, rate, batch, epochs, "stop after 12 epochs without
improvement", and which kinds of augmentation; no filters, dense sizes, dropout rates or amounts of augmentation.
"""

from affect.registry import RecipeSpec
from affect_seeds.provenance import INIT_NOTES

SOURCE = 'Unsigned report, "Emotion Detection from Images using Machine Learning" (Keras, FER2013)'

_DATA = {"normalise": "unit"}  # not printed; the usual rescale=1/255 of Keras' ImageDataGenerator, which it imports
# Shear, zoom, shift and rotation, no mirror, is what it lists. Of the amounts it prints only the rotation's, as the
# example of 30 degrees; shear .2 (degrees, in Keras) and zoom .2 are those of the example in Keras' documentation,
# shift .1 is ours.
_AUGMENT = {"rotation_deg": 30.0, "zoom": (0.8, 1.2), "shift": 0.1, "shear_deg": 0.2}
# Its plot of trial 1 goes on for forty epochs after the loss began to rise: with a patience of 12 it watched accuracy.
_ADAM = {"optimizer": "adam", "lr": 0.001, "schedule": "constant", "stop_epochs": 12, "watch": "accuracy"}

TRIAL1 = RecipeSpec(
    name="trial1",
    architecture="affect_seeds.report003:Trial1",
    summary="Report 003, baseline: 3 convolutions, balanced class weights",
    source=SOURCE,
    # The confusion matrix it prints sums to 7,178 faces: a fifth of all 35,887, not PrivateTest.
    published=".57 (accuracy on a random fifth of all faces)",
    # 32, 64, 128 and a dense layer of 128 are ours; no padding is Keras' default.
    model={"filters": [32, 64, 128], "neurons": 128, "dropout": 0.5},
    data=_DATA,
    train={**_ADAM, "epochs": 100, "batch_size": 64, "class_weights": "balanced"},
)

TRIAL2 = RecipeSpec(
    name="trial2",
    architecture="affect_seeds.report003:Trial2",
    summary="Report 003, more complex: 7 convolutions, dropout between them, augmentation",
    source=SOURCE,
    published=".62 (PrivateTest)",
    # Filters, stages and rates are ours, as small as reaches the printed figure on two cores.
    model={
        "stages": [[32, 32], [64, 64], [128, 128], [256]],
        "neurons": 256,
        "inner_dropout": 0.25,
        "dropout": 0.5,
    },
    data=_DATA,
    augment=_AUGMENT,
    train={**_ADAM, "epochs": 50, "batch_size": 128},
)

VGG19 = RecipeSpec(
    name="vgg19",
    architecture="affect_seeds.transfer:Transfer",
    summary="Report 003, transfer: ImageNet's VGG19 at 48x48x3, first two blocks frozen",
    source=SOURCE,
    published=".64 (PrivateTest)",
    # At 48 pixels VGG19 ends in 1x1x512. What follows is not printed; here only the last layer.
    model={"backbone": "vgg19", "side": 48, "flatten": False, "hidden": [], "dropout": 0.0},
    data=_DATA,
    augment=_AUGMENT,
    train={
        "epochs": 50,
        "batch_size": 32,
        "optimizer": "sgd",
        "lr": 0.001,
        "momentum": 0.0,  # Keras' default, as is nesterov=False
        "nesterov": False,
        "schedule": "constant",
        "stop_epochs": 12,
        # The four convolutions of the first two blocks; VGG counts ReLUs and pools in its sequence.
        "freeze": tuple(f"backbone.features.{index}." for index in (0, 2, 5, 7)),
    },
    inits={"imagenet": "affect_seeds.pretrained:imagenet", "backbone": "affect_seeds.pretrained:backbone"},
    init_notes=INIT_NOTES,
    init="imagenet",
)

RECIPES = (TRIAL1, TRIAL2, VGG19)

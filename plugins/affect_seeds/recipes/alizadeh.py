"""Alizadeh & Fazel: a shallow and a deep network, each also with HOG features.

The poster prints of the deep network: 3 convolutions, 2 dense layers of 256 and 512 neurons, 7x7 filters in the first
layer (more than 30 of them), batch norm, dropout, ReLU, max-pooling, zero padding, log softmax; mean subtraction and
flips; learning rate .01, L2 1e-7. It is silent on the rest, which is filled in thus:
- filters and the other kernels: those of the authors' paper (arXiv:1704.06756) as its re-implementations repeat them
  (github.com/rishabhjainps/Facial-Expression-Recognition): deep 64, then 128 of 5x5, then 512 of 3x3; shallow 32 and
  64 of 3x3 and 512 neurons; each convolution pooled by 2;
- optimiser: SGD as Torch's `optim.sgd` does it unless told otherwise, without momentum, at a constant rate;
- dropout: .5, the default of Torch's nn.Dropout, in the dense layers. In the convolutional layers .2, ours: at .5 the
  max-pool behind it sees half of its window in training and all of it afterwards;
- ours: batch 128, 40 epochs, the best of them on PublicTest.
"""

from affect.registry import RecipeSpec

SOURCE = "Shima Alizadeh and Azar Fazel, Convolutional Neural Networks for Facial Expression Recognition, Stanford"

_SHALLOW = {
    "convolutions": [[32, 3, 2], [64, 3, 2]],  # filters, kernel, pool
    "hidden": [512],
    "conv_dropout": 0.2,
    "dropout": 0.5,
}
_DEEP = {
    "convolutions": [[64, 7, 2], [128, 5, 2], [512, 3, 2]],
    "hidden": [256, 512],
    "conv_dropout": 0.2,
    "dropout": 0.5,
}
# "Subtracting the mean"; `measured` also divides by the deviation, which the first batch norm takes out again.
_DATA = {"normalise": "measured"}
_AUGMENT = {"mirror": True}
_TRAIN = {
    "epochs": 40,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.0,
    "nesterov": False,
    "l2_kernels": 1e-7,
    "schedule": "constant",
}


def _recipe(name: str, summary: str, published: str, model: dict[str, object], *, hog: bool) -> RecipeSpec:
    return RecipeSpec(
        name=name,
        architecture="affect_seeds.alizadeh:AlizadehFazel",
        summary=summary,
        source=SOURCE,
        published=published,
        model={**model, "hog": hog},
        data=_DATA,
        augment=_AUGMENT,
        train=_TRAIN,
    )


RECIPES = (
    _recipe(
        "stanford-shallow", "Alizadeh & Fazel, shallow: 2 convolutions, 1 dense layer", "18.46 points below the deep "
        "network (validation)", _SHALLOW, hog=False,
    ),
    _recipe(
        "stanford-deep", "Alizadeh & Fazel, deep: 3 convolutions from 7x7, 2 dense layers", "18.46 points above the "
        "shallow network (validation)", _DEEP, hog=False,
    ),
    _recipe(
        "stanford-shallow-hog", "Alizadeh & Fazel, shallow, with HOG beside the convolutions", "very close to the same "
        "network without HOG", _SHALLOW, hog=True,
    ),
    _recipe(
        "stanford-deep-hog", "Alizadeh & Fazel, deep, with HOG beside the convolutions", "very close to the same "
        "network without HOG", _DEEP, hog=True,
    ),
)  # fmt: skip

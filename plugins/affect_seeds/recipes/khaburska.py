"""Khaburska & Yurkiv: the baseline recogniser of a real-time system whose faces come from OpenCV's Haar cascade.

The report prints: 4 convolutional and 3 dense layers, ReLU, softmax, dropout at each layer; its sizes are in a figure
that the text doesn't have. Filters, pooling, sizes and rates are ours. The optimiser is Keras' usual Adam with its
default rate; epochs and batch are ours ("larger number of epochs" would have helped, the report says).
"""

from affect.registry import RecipeSpec

UCU_BASELINE = RecipeSpec(
    name="ucu-baseline",
    architecture="affect_seeds.khaburska:UcuBaseline",
    summary="Khaburska & Yurkiv: 4 convolutions, 3 dense layers, dropout everywhere; for detector `haar`",
    source="Anastasiia Khaburska and Andrii Yurkiv, Facial Expression Recognition in Natural Images, "
    "Ukrainian Catholic University, 2019",
    published="63.25 % (PrivateTest)",
    model={"filters": [64, 128, 256, 256], "hidden": [512, 256], "conv_dropout": 0.25, "dropout": 0.5},
    data={"normalise": "unit"},
    train={"epochs": 60, "batch_size": 64, "optimizer": "adam", "lr": 0.001, "schedule": "constant"},
)

RECIPES = (UCU_BASELINE,)

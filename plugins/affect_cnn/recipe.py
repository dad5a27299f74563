"""How `cnn` is trained: the settings of Nguyen's report as `affect-train` recipes."""

from affect.registry import RecipeSpec

NGUYEN2017 = RecipeSpec(
    name="nguyen2017",
    architecture="affect_cnn.model:Nguyen2017",
    summary="Nguyen 2017, final model: batch norm, L2, mirror; published 64-65 % (PrivateTest)",
    source="My Nguyen, Detecting Emotions through Facial Expressions, 2017",
    model={"batch_norm": True, "dropout": 0.2},
    train={
        "epochs": 160,
        "batch_size": 256,
        "optimizer": "sgd",
        "lr": 0.02,  # the report names none; of .01, .02 and .05 the best here (training/LOG.md)
        "momentum": 0.9,
        "nesterov": True,
        "l2_kernels": 1e-3,  # Keras adds alpha * sum(w^2): the decay in the gradient is twice that
        "plateau_epochs": 5,
        "plateau_factor": 0.5,
        "stop_epochs": 41,
        "mirror": True,
    },
)

NGUYEN2017_PLAIN = RecipeSpec(
    name="nguyen2017-plain",
    architecture="affect_cnn.model:Nguyen2017",
    summary="Nguyen 2017, first model: no batch norm, no L2; published 62 %",
    source=NGUYEN2017.source,
    model={"batch_norm": False, "dropout": 0.2},
    train={**NGUYEN2017.train, "l2_kernels": 0.0},
)

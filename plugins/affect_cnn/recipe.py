"""How `cnn` is trained: the settings of Nguyen's report as `affect-train` recipes."""

from affect.registry import RecipeSpec

NGUYEN2017 = RecipeSpec(
    name="nguyen2017",
    architecture="affect_cnn.model:Nguyen2017",
    summary="Nguyen 2017, final model: batch norm, L2, mirror; published 64-65 % (PrivateTest)",
    source="My Nguyen, Detecting Emotions through Facial Expressions, 2017",
    published="64-65 % (PrivateTest)",
    model={"batch_norm": True, "dropout": 0.2},
    augment={"mirror": True},
    train={
        "epochs": 160,
        "batch_size": 256,
        "optimizer": "sgd",
        "lr": 0.02,  # the report names none; of .01, .02 and .05 the best here (training/LOG.md)
        "momentum": 0.9,
        "nesterov": True,
        "l2_kernels": 1e-3,  # Keras adds alpha * sum(w^2): the decay in the gradient is twice that
        "schedule": "plateau",
        "plateau_epochs": 5,
        "plateau_factor": 0.5,
        "stop_epochs": 41,
    },
)

NGUYEN2017_PLAIN = RecipeSpec(
    name="nguyen2017-plain",
    architecture="affect_cnn.model:Nguyen2017",
    summary="Nguyen 2017, first model: no batch norm, no L2; published 62 %",
    source=NGUYEN2017.source,
    published="62 % (PrivateTest)",
    model={"batch_norm": False, "dropout": 0.2},
    augment=NGUYEN2017.augment,
    train={**NGUYEN2017.train, "l2_kernels": 0.0},
)

NGUYEN2017_X5 = RecipeSpec(
    name="nguyen2017-x5",
    architecture="",
    summary="Nguyen 2017: mean of five networks that differ in their start",
    source=NGUYEN2017.source,
    published="67.17 % (PrivateTest)",
    parts={f"seed{seed}": {"recipe": "nguyen2017", "train": {"seed": seed}} for seed in range(5)},
)

COMPACT = RecipeSpec(
    name="compact",
    architecture="affect_cnn.compact:Compact",
    summary="A small residual network with gates, from scratch; label and FER+ votes as two heads",
    source="Our own: He 2016 (basic blocks), Hu 2018 (gates), Barsoum 2016 (FER+ votes)",
    model={"widths": (48, 96, 192, 320), "depths": (2, 2, 2, 2), "heads": 2, "dropout": 0.2},
    data={"votes": True},
    augment={
        "mirror": True,
        "rotation_deg": 15.0,
        "zoom": (0.86, 1.16),
        "shift": 0.07,
        "size": 44,
        "brightness": 0.3,
        "contrast": 0.3,
        "erasing": 0.4,
        "ramp_epochs": 6,  # the training loss stayed high with everything from the start
        "calm_epochs": 3,
    },
    train={
        "epochs": 60,
        "batch_size": 128,
        "optimizer": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": "onecycle",
        "warmup": 0.1,
        "ema": 0.998,
        "label_smoothing": 0.1,
        "votes_weight": 0.4,
    },
)

"""How the pretrained networks are fine-tuned: recipes of `affect-train`."""

from affect.registry import RecipeSpec
from affect_resnet.provenance import licence_notes

# The starts below were trained on whole faces: no crop below 48 pixels, otherwise what the scratch networks get.
AUGMENT = {
    "mirror": True,
    "rotation_deg": 15.0,
    "zoom": (0.86, 1.16),
    "shift": 0.07,
    "brightness": 0.3,
    "contrast": 0.3,
    "erasing": 0.4,
}

DATA = {"normalise": "unit", "votes": True}

FINE_TUNE = {
    "batch_size": 96,
    "optimizer": "sgd",
    "lr": 0.05,
    "body_lr_factor": 0.4,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "onecycle",
    "warmup": 0.2,
    "ema": 0.998,
    "label_smoothing": 0.1,
    "votes_weight": 0.5,
}

RESNET_FACE = RecipeSpec(
    name="resnet-face",
    architecture="affect_resnet.dlib_resnet:DlibResNet",
    summary="dlib's face-identity ResNet, fine-tuned; --init face-api:FOLDER",
    source="King, dlib_face_recognition_resnet_model_v1, 2017, as in the npm package @vladmandic/face-api 1.7.15",
    model={"side": 112, "dropout": 0.2, "heads": 2},
    data=DATA,
    augment=AUGMENT,
    train={**FINE_TUNE, "epochs": 10},
    inits={"face-api": "affect_resnet.face_api:initialise"},
    init_notes={"face-api": licence_notes("face-api")},
    init="face-api",
)

MOBILENET_FACE = RecipeSpec(
    name="mobilenet-face",
    architecture="affect_resnet.mobilenet_face:MobileNetFace",
    summary="A MobileNet that knows face identities, fine-tuned; --init human:FOLDER",
    source="Savchenko, HSE FaceRes, as `faceres` in the npm package @vladmandic/human 3.3.6",
    model={"side": 96, "dropout": 0.2, "heads": 2},
    data=DATA,
    augment=AUGMENT,
    train={**FINE_TUNE, "epochs": 10},
    inits={"human": "affect_resnet.human:initialise"},
    init_notes={"human": licence_notes("human")},
    init="human",
)

RESNET18 = RecipeSpec(
    name="resnet18",
    architecture="affect_resnet.imagenet_resnet:ImageNetResNet",
    summary="torchvision's ResNet18, fine-tuned; --init imagenet",
    source="He et al., Deep Residual Learning for Image Recognition, CVPR 2016; weights of torchvision",
    model={"variant": "resnet18", "side": 112, "dropout": 0.2, "heads": 2},
    data=DATA,
    augment=AUGMENT,
    train={**FINE_TUNE, "epochs": 10},
    inits={"imagenet": "affect_resnet.imagenet_resnet:initialise"},
    init_notes={"imagenet": licence_notes("imagenet")},
    init="imagenet",
)

RESNET50 = RecipeSpec(
    name="resnet50",
    architecture=RESNET18.architecture,
    summary="torchvision's ResNet50, fine-tuned; --init imagenet",
    source=RESNET18.source,
    model={"variant": "resnet50", "side": 197, "dropout": 0.2, "heads": 2},
    data=DATA,
    augment=AUGMENT,
    train={**FINE_TUNE, "epochs": 10},
    inits=RESNET18.inits,
    init_notes=RESNET18.init_notes,
    init=RESNET18.init,
)

RECIPES = (RESNET_FACE, MOBILENET_FACE, RESNET18, RESNET50)

"""What a model card must say of the pretrained starts of `affect_seeds`; no torch."""

INIT_NOTES = {
    "imagenet": (
        "Start: the ImageNet weights that timm downloads (torchvision's IMAGENET1K_V1 for VGG16, VGG19 and ResNet50; "
        "the SE-ResNet50 of Cadene's pretrained-models.pytorch, converted from the authors' own). Data: ImageNet-1k "
        "(ILSVRC 2012), whose pictures are for research and education that is not commercial. Licence: "
        "timm Apache-2.0, torchvision BSD-3-Clause; both leave the terms of the training data to the user's judgement."
    ),
    "backbone": (
        "Start: a weights file the user brought (`--init backbone:FILE`). Its makers, data and licence are not known "
        "here: look them up before passing these weights on."
    ),
}

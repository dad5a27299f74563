"""Keras' 170 layers in timm's names, against numbers that keras-vggface itself prints."""

from affect_seeds.frozen import first_layers, keras_layers

# Indices of the batch norms of keras-vggface's ResNet50, as Khanzada's notebooks list them.
BATCH_NORMS = [
    2, 6, 9, 13, 14, 18, 21, 24, 28, 31, 34, 38, 41, 45, 46, 53, 56, 60, 63, 66, 70, 73, 76, 80, 83, 87, 88, 92, 95,
    98, 102, 105, 108, 112, 115, 118, 122, 125, 128, 132, 135, 138, 142, 145, 149, 150, 154, 157, 160, 164, 167, 170,
]  # fmt: skip


def test_order_of_resnet50() -> None:
    layers = keras_layers(squeeze=False)
    assert len(layers) == 174
    norms = [i for i, name in enumerate(layers) if "bn" in name or "downsample.1" in name]
    assert {*norms} - {*BATCH_NORMS} == {50}, "of 53 the notebook forgets one"
    assert {*BATCH_NORMS} <= {*norms}
    assert layers[169:171] == ["layer4.2.conv3.", "layer4.2.bn3."]


def test_order_of_senet50() -> None:
    layers = keras_layers(squeeze=True)
    assert len(layers) == 286
    assert layers[164] == "layer3.2.conv1."
    assert layers[170] == "layer3.2.conv3."


def test_prefixes_are_merged() -> None:
    assert first_layers(170, squeeze=False) == (
        "backbone.bn1.", "backbone.conv1.", "backbone.layer1.", "backbone.layer2.", "backbone.layer3.",
        "backbone.layer4.0.", "backbone.layer4.1.", "backbone.layer4.2.bn1.", "backbone.layer4.2.bn2.",
        "backbone.layer4.2.conv1.", "backbone.layer4.2.conv2.", "backbone.layer4.2.conv3.",
    )  # fmt: skip

"""The baseline of Boulis, Hemdan & Osama, section 5.1. Their pretrained networks are in `affect_seeds.transfer`."""

from torch import nn

from affect_seeds.layers import CLASSES, BodyAndHead, batch_norm, start_like_keras


class AucBaseline(BodyAndHead):
    """Four 3x3 convolutions of 32 filters with a 2x2 max-pool after each two, a dense layer, FC 7.

    Args:
        neurons: Of the dense layer.
        dropout: Rate before and after the dense layer.

    Shapes:
        [N, 1, 48, 48], 0-1 -> logits [N, 7].
    """

    def __init__(self, *, neurons: int = 1024, dropout: float = 0.5) -> None:
        layers: list[nn.Module] = []
        for channels, pool in ((1, False), (32, True), (32, False), (32, True)):
            layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), batch_norm(32)]
            if pool:
                layers.append(nn.MaxPool2d(2))
        layers += [nn.Flatten(), nn.Dropout(dropout)]
        layers += [nn.Linear(32 * 12 * 12, neurons), nn.ReLU(), batch_norm(neurons, flat=True), nn.Dropout(dropout)]
        super().__init__(nn.Sequential(*layers), nn.Linear(neurons, CLASSES))
        start_like_keras(self)

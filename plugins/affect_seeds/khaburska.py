"""The baseline of Khaburska & Yurkiv, section 4 and figure 1: four convolutions, three dense layers, no batch norm."""

from collections.abc import Sequence

from torch import nn

from affect_seeds.layers import CLASSES, BodyAndHead, MapDropout, start_like_keras


class UcuBaseline(BodyAndHead):
    """[conv 3x3 - ReLU - max-pool - dropout] x 4, [FC - ReLU - dropout] x 2, FC 7.

    Args:
        filters: Of the convolutions.
        hidden: Neurons of the first two dense layers; the third has one a class.
        conv_dropout: Rate after each convolution.
        dropout: Rate after each hidden dense layer.

    Shapes:
        [N, 1, 48, 48], 0-1 -> logits [N, 7].
    """

    def __init__(
        self,
        *,
        filters: Sequence[int] = (64, 128, 256, 256),
        hidden: Sequence[int] = (512, 256),
        conv_dropout: float = 0.25,
        dropout: float = 0.5,
    ) -> None:
        layers: list[nn.Module] = []
        channels, side = 1, 48
        for count in filters:
            layers += [nn.Conv2d(channels, count, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), MapDropout(conv_dropout)]
            channels, side = count, side // 2
        layers.append(nn.Flatten())
        width = channels * side * side
        for neurons in hidden:
            layers += [nn.Linear(width, neurons), nn.ReLU(), nn.Dropout(dropout)]
            width = neurons
        super().__init__(nn.Sequential(*layers), nn.Linear(width, CLASSES))
        start_like_keras(self)

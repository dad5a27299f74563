"""The two networks from scratch of the unsigned report "Emotion Detection from Images using Machine Learning".

Its VGG19 is in `affect_seeds.transfer`.
"""

from collections.abc import Sequence

from torch import nn

from affect_seeds.layers import CLASSES, BodyAndHead, MapDropout, start_like_keras
from affect_seeds.layers import activation as activated


class Trial1(BodyAndHead):
    """Three 3x3 convolutions, each with ReLU and a 2x2 max-pool; a dense layer; dropout before the last layer only.

    Args:
        filters: Of the three convolutions.
        neurons: Of the dense layer.
        dropout: Rate before the last layer.
        activation: One of `affect_seeds.layers.ACTIVATIONS`; the report's plan is to search it.

    Shapes:
        [N, 1, 48, 48], 0-1 -> logits [N, 7]. Nothing is padded ("valid"): 48 -> 46 -> 23 -> 21 -> 10 -> 8 -> 4.
    """

    def __init__(
        self,
        *,
        filters: Sequence[int] = (32, 64, 128),
        neurons: int = 128,
        dropout: float = 0.5,
        activation: str = "relu",
    ) -> None:
        layers: list[nn.Module] = []
        channels, side = 1, 48
        for count in filters:
            layers += [nn.Conv2d(channels, count, 3), activated(activation), nn.MaxPool2d(2)]
            channels, side = count, (side - 2) // 2
        layers += [nn.Flatten(), nn.Linear(channels * side * side, neurons), activated(activation), nn.Dropout(dropout)]
        super().__init__(nn.Sequential(*layers), nn.Linear(neurons, CLASSES))
        start_like_keras(self)


class Trial2(BodyAndHead):
    """Seven 3x3 convolutions with ReLU in four stages, each closed by a 2x2 max-pool and dropout; a dense layer.

    Args:
        stages: Filters of the convolutions of each stage.
        neurons: Of the dense layer.
        inner_dropout: Rate after each max-pool.
        dropout: Rate before the last layer.
        activation: One of `affect_seeds.layers.ACTIVATIONS`; the report's plan is to search it.

    Shapes:
        [N, 1, 48, 48], 0-1 -> logits [N, 7].
    """

    def __init__(
        self,
        *,
        stages: Sequence[Sequence[int]] = ((32, 32), (64, 64), (128, 128), (256,)),
        neurons: int = 256,
        inner_dropout: float = 0.25,
        dropout: float = 0.5,
        activation: str = "relu",
    ) -> None:
        layers: list[nn.Module] = []
        channels, side = 1, 48
        for stage in stages:
            for count in stage:
                layers += [nn.Conv2d(channels, count, 3, padding=1), activated(activation)]
                channels = count
            layers += [nn.MaxPool2d(2), MapDropout(inner_dropout)]
            side //= 2
        layers += [nn.Flatten(), nn.Linear(channels * side * side, neurons), activated(activation), nn.Dropout(dropout)]
        super().__init__(nn.Sequential(*layers), nn.Linear(neurons, CLASSES))
        start_like_keras(self)

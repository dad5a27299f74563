"""Which parameters "the first 170 layers" are: Keras' count of layers, told in the names of timm's networks.

Keras counts everything in `model.layers`, in the order of their depth: the input, every convolution, batch norm,
activation, pooling, reshape, sum and product. The documents' networks are those of the library keras-vggface; its
order is written down here. No torch.
"""

from collections.abc import Iterable

BLOCKS = (3, 4, 6, 3)  # bottlenecks in the four stages of ResNet50 and SENet50


def keras_layers(*, squeeze: bool) -> list[str]:
    """Return one entry a layer of keras-vggface's ResNet50 (174) or SENet50 (286) without top, in Keras' order.

    Args:
        squeeze: SENet50, as timm's `legacy_seresnet50`; else ResNet50, as timm's `resnet50`.

    Returns:
        The prefix of the layer's parameters in timm's network, ending in a dot; empty for a layer without any.
    """
    stem = "layer0." if squeeze else ""
    layers = ["", f"{stem}conv1.", f"{stem}bn1.", "", ""]  # input, convolution, norm, ReLU, max-pool
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}."
            path = [f"{at}{name}" if name else "" for name in ("conv1.", "bn1.", "", "conv2.", "bn2.", "", "conv3.")]
            path.append(f"{at}bn3.")
            if squeeze:  # pooling, reshape, down, ReLU, up, sigmoid, product
                path += ["", "", f"{at}se_module.fc1.", "", f"{at}se_module.fc2.", "", ""]
            if block == 0:  # the shortcut's convolution and norm are as deep as the last two of the path
                path = [*path[:-1], f"{at}downsample.0.", path[-1], f"{at}downsample.1."]
            layers += [*path, "", ""]  # sum, ReLU
    return [*layers, ""]  # average pool


def first_layers(count: int, *, squeeze: bool, prefix: str = "backbone.") -> tuple[str, ...]:
    """Return the prefixes that freeze the first `count` of Keras' layers, whole stages and blocks in one.

    Args:
        count: Number of layers in Keras' order.
        squeeze: SENet50, else ResNet50.
        prefix: Where the network keeps timm's.
    """
    layers = keras_layers(squeeze=squeeze)
    frozen, free = {name for name in layers[:count] if name}, {name for name in layers[count:] if name}
    return tuple(f"{prefix}{name}" for name in _merged(frozen, free))


def _merged(frozen: Iterable[str], free: set[str]) -> list[str]:
    """Shorten names to the outermost prefix that no free layer shares."""
    short: dict[str, None] = {}
    for name in sorted(frozen):
        parts = name.split(".")
        outer = (".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
        short[next(p for p in outer if not any(other.startswith(p) for other in free))] = None
    return list(short)

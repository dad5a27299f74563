"""MobileNet (Howard et al. 2017) for face identities: `faceres` of the npm package @vladmandic/human 3.3.6.

The layers follow the package's graph, node by node; they are numbered like its weights (conv_dw_1, conv_pw_1, …). Its
answer is a 1024-vector, `global_pooling/Mean`; what the package makes of it (age, gender) is left out, and the head
for emotions is ours.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from affect_resnet.face_network import EmotionHead, IdentityNetwork

MEAN_BGR = (103.939, 116.779, 123.68)  # of 0-255, the blue channel first
SMALLEST = 32
EPSILON = 1e-3  # of Keras' batch norms

# Channels after the pointwise convolution, and stride of the depthwise one.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class ConvNorm6(nn.Module):
    """Convolution padded as TensorFlow's "same", batch norm, ReLU cut at 6.

    With stride 2 "same" pads an even side at its far edge only, an odd one at both. Depthwise ones are computed
    everywhere and every second value is kept: the same numbers, and the gradients of stride 2 have no fast kernel in
    bfloat16 on CPUs (torch 2.14, 96 faces, 64 channels of 48x48: 44 instead of 137 ms).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride = stride
        whole = stride == 1 or groups > 1
        padding = kernel // 2 if whole else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1 if whole else stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, outputs, H', W']."""
        odd_h, odd_w = x.shape[2] % 2, x.shape[3] % 2
        if self.stride == 1:
            x = self.conv(x)
        elif self.conv.groups == 1:
            x = self.conv(functional.pad(x, (odd_w, 1, odd_h, 1)))
        else:
            x = self.conv(x)[:, :, 1 - odd_h :: 2, 1 - odd_w :: 2].contiguous(memory_format=torch.channels_last)
        return functional.relu6(self.norm(x), inplace=True)


class MobileNetFace(IdentityNetwork):
    """The face MobileNet with a head for emotions.

    Args:
        side: Side the faces are enlarged to; the package's own is 224.
        hidden: Sizes of extra dense layers before the last one.
        dropout: Before each dense layer.
        heads: 2 gives a second set of logits in training.

    Shapes:
        [N, 1, S, S], 0-1 -> logits [N, 7]; [N, 2, 7] in training mode with two heads.
    """

    mean: torch.Tensor

    def __init__(self, side: int = 96, hidden: Sequence[int] = (), dropout: float = 0.2, heads: int = 1) -> None:
        super().__init__(side, SMALLEST)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[None, :, None, None], persistent=False)
        self.conv1 = ConvNorm6(3, 32, 3, stride=2)
        inputs = 32
        for number, (outputs, stride) in enumerate(BLOCKS, start=1):
            self.add_module(f"conv_dw_{number}", ConvNorm6(inputs, inputs, 3, stride, groups=inputs))
            self.add_module(f"conv_pw_{number}", ConvNorm6(inputs, outputs, 1))
            inputs = outputs
        self.head = EmotionHead(inputs, hidden, dropout, heads)

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, 1024]."""
        # Three channels, though the faces are grey: what "same" padding adds is the mean colour, which is not grey.
        x: torch.Tensor = self.enlarge(faces) * 255.0 - self.mean
        x = self.conv1(x.contiguous(memory_format=torch.channels_last))
        for number in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"conv_pw_{number}")(self.get_submodule(f"conv_dw_{number}")(x))
        return x.mean((2, 3))

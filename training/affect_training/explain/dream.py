"""What a network takes for an emotion: gradient ascent on the picture (activation maximisation, DeepDream).

Plain ascent finds noise that no eye can read. Octaves (coarse changes first), jitter (the picture moves a little
each step), a blur now and then, and a price on total variation keep the changes smooth (Mordvintsev et al. 2015;
Yosinski et al. 2015). Everything random follows from the seed.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from affect.labels import EMOTIONS
from affect_training.explain.network import Opened


@dataclass(frozen=True, slots=True)
class DreamSettings:
    """How the ascent goes.

    Attributes:
        odds: Log odds of the emotion against all others that are enough; without an end, ascent paints over the face.
        steps: Steps of Adam in each octave.
        octaves: Sizes of the change, each 1.6 times the one before; the last is the picture's.
        rate: Adam's, on the 0-1 scale of the picture.
        jitter: Largest shift of a step, in sides of the picture.
        blur_every: Steps between two blurs of the change.
        blur: Deviation of the blur in pixels of the octave, in the first step; it falls to a third of that.
        variation: Price of the total variation.
        keep: Price of the distance from the start.
    """

    odds: float
    steps: int = 96
    octaves: int = 3
    rate: float = 0.02
    jitter: float = 1 / 24
    blur_every: int = 8
    blur: float = 1.0
    variation: float = 80.0
    keep: float = 10.0


# By eye, on the backend `cnn`: less variation gets noise, more nothing; 5 is a probability of .993.
FROM_NOISE = DreamSettings(odds=16.0, variation=60.0, keep=2.0, blur=1.2)
FROM_FACE = DreamSettings(odds=5.0)
_OCTAVE_RATIO = 1.6
_NOISE = 0.02


def dream(
    network: Opened,
    start: torch.Tensor | None = None,
    emotions: tuple[int, ...] = tuple(range(len(EMOTIONS))),
    settings: DreamSettings | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Change a picture so that the network sees each of several emotions in it.

    Args:
        network: The opened backend.
        start: A crop [1, C, S, S], 0-1; mid-grey with a little noise when not given.
        emotions: Numbers of the emotions; they are dreamt side by side in one batch.
        settings: `FROM_FACE` with a start, else `FROM_NOISE`.
        seed: Of noise and jitter.

    Returns:
        [len(emotions), C, S, S], 0-1.
    """
    generator = torch.Generator().manual_seed(seed)
    if settings is None:
        settings = FROM_NOISE if start is None else FROM_FACE
    if start is None:
        blank = network.blank()
        noise = torch.randn(blank.shape, generator=generator).to(blank.device)
        start = (blank + _NOISE * noise).clamp(0, 1)
    base = start.expand(len(emotions), -1, -1, -1)
    targets = torch.tensor(emotions, device=base.device)
    size = base.shape[-1]
    change = torch.zeros_like(base)
    for octave in range(settings.octaves):
        side = max(6, round(size / _OCTAVE_RATIO ** (settings.octaves - 1 - octave)))
        change = _resized(change, side).detach()
        change = _ascend(network, base, change, targets, settings, generator)
    return (base + _resized(change, size)).clamp(0, 1)


def _ascend(
    network: Opened,
    base: torch.Tensor,
    change: torch.Tensor,
    targets: torch.Tensor,
    settings: DreamSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Climb in one octave; returns the change at its size."""
    size = base.shape[-1]
    reach = round(settings.jitter * size)
    change = change.clone().requires_grad_()
    adam = torch.optim.Adam([change], lr=settings.rate)
    for step in range(settings.steps):
        moved = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        picture = (base + _resized(change, size)).clamp(0, 1)
        logits = network.logits(picture.roll(moved, dims=(2, 3)))
        adam.zero_grad()
        short = (settings.odds - _margin(logits, targets)).clamp(min=0).sum()
        (short + _price(picture - base, settings)).backward()  # type: ignore[no-untyped-call]
        adam.step()
        if settings.blur > 0 and (step + 1) % settings.blur_every == 0:
            width = settings.blur * (1 - 2 / 3 * step / settings.steps)
            with torch.no_grad():
                change.copy_(gaussian_blur(change, [5, 5], [width, width]))
    return change.detach()


def _margin(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return by how much each row's target outdoes all others, [N]: the log odds, which do not saturate."""
    own = logits.gather(1, targets[:, None])[:, 0]
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return own - others.logsumexp(dim=1)


def _price(change: torch.Tensor, settings: DreamSettings) -> torch.Tensor:
    """Return what roughness and distance of the change cost, each as a root mean square, summed over the batch."""
    rough = change.diff(dim=2).square().mean(dim=(1, 2, 3)) + change.diff(dim=3).square().mean(dim=(1, 2, 3))
    far = change.square().mean(dim=(1, 2, 3))
    total: torch.Tensor = (settings.variation * (rough + 1e-8).sqrt() + settings.keep * (far + 1e-8).sqrt()).sum()
    return total


def _resized(change: torch.Tensor, side: int) -> torch.Tensor:
    if change.shape[-1] == side:
        return change
    return functional.interpolate(change, size=(side, side), mode="bicubic", align_corners=False)

"""Random changes of a batch of faces, on the device they are on; every draw from one generator, so reproducible.

Geometry is one affine map and one bilinear sampling for the whole batch; a plain mirror stays exact.
"""

import math

import torch
from torch.nn import functional

from affect_training.config import AugmentConfig


class Augment:
    """Changes faces of 0-1, float32 [N, 1, H, W].

    Args:
        config: What is changed and how much.
        generator: On the CPU, whatever the device: the same draws everywhere. They go over without waiting for what
            the device has to do; they lie in pageable memory, which CUDA has copied by the time it returns.
    """

    def __init__(self, config: AugmentConfig, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator

    def __call__(self, faces: torch.Tensor, *, strength: float = 1.0, erase: bool = True) -> torch.Tensor:
        """Return changed faces [N, 1, S, S], S being `config.size` or the side as it is.

        Args:
            faces: float32 [N, 1, H, W], 0-1.
            strength: Scales every range; 0 leaves only the mirror.
            erase: Whether rectangles may be erased.
        """
        config = self.config
        faces = self._place(faces, strength)
        faces = self._light(faces, strength)
        if config.blur > 0:
            faces = self._blur(faces, config.blur * strength)
        if config.noise > 0:
            sigma = self._uniform(len(faces), faces, 0.0, config.noise * strength)
            noise = torch.randn(faces.shape, generator=self.generator).to(faces, non_blocking=True)
            faces = faces + noise * sigma[:, None, None, None]
        if erase and config.erasing > 0:
            faces = self._erase(faces, config.erasing * strength)
        return faces

    def _place(self, faces: torch.Tensor, strength: float) -> torch.Tensor:
        config, count, side = self.config, len(faces), faces.shape[-1]
        size = config.size or side
        flip = self._uniform(count, faces, 0.0, 1.0) < 0.5 if config.mirror else None
        still = not (config.rotation_deg or config.shift or config.shear_deg or config.zoom != (1.0, 1.0))
        if still:
            if size != side:
                start = (side - size) // 2
                faces = faces[..., start : start + size, start : start + size]
            return faces if flip is None else torch.where(flip[:, None, None, None], faces.flip(3), faces)
        turn = self._uniform(count, faces, -1, 1) * math.radians(config.rotation_deg) * strength
        shear = torch.tan(self._uniform(count, faces, -1, 1) * math.radians(config.shear_deg) * strength)
        low, high = (math.log(z) * strength for z in config.zoom)
        # Zoom is drawn on a logarithmic scale; sampling further apart shrinks the face.
        spread = torch.exp(-self._uniform(count, faces, low, high)) * size / side
        shift_x = self._uniform(count, faces, -2, 2) * config.shift * strength
        shift_y = self._uniform(count, faces, -2, 2) * config.shift * strength
        mirror = torch.ones_like(turn) if flip is None else 1 - 2 * flip.to(turn)
        cos, sin = torch.cos(turn), torch.sin(turn)
        to_x = torch.stack([cos * spread * mirror, (cos * shear - sin) * spread, shift_x], dim=1)
        to_y = torch.stack([sin * spread * mirror, (sin * shear + cos) * spread, shift_y], dim=1)
        grid = functional.affine_grid(torch.stack([to_x, to_y], dim=1), [count, 1, size, size], align_corners=False)
        return functional.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _light(self, faces: torch.Tensor, strength: float) -> torch.Tensor:
        config, count = self.config, len(faces)
        if config.contrast:
            gain = 1 + self._uniform(count, faces, -1, 1)[:, None, None, None] * config.contrast * strength
            middle = faces.mean(dim=(1, 2, 3), keepdim=True)
            faces = (faces - middle) * gain + middle
        if config.brightness:
            faces = faces * (1 + self._uniform(count, faces, -1, 1)[:, None, None, None] * config.brightness * strength)
        return faces.clamp(0, 1) if config.contrast or config.brightness else faces

    def _blur(self, faces: torch.Tensor, probability: float) -> torch.Tensor:
        count = len(faces)
        chosen = self._uniform(count, faces, 0, 1) < probability
        sigma = self._uniform(count, faces, 0.3, 1.2)
        reach = torch.arange(-2, 3, device=faces.device, dtype=faces.dtype)
        kernel = torch.exp(-(reach**2) / (2 * sigma[:, None] ** 2))
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
        plane = functional.pad(faces, (2, 2, 2, 2), mode="replicate").transpose(0, 1)
        plane = functional.conv2d(plane, kernel[:, None, None, :], groups=count)
        plane = functional.conv2d(plane, kernel[:, None, :, None], groups=count)
        return torch.where(chosen[:, None, None, None], plane.transpose(0, 1), faces)

    def _erase(self, faces: torch.Tensor, probability: float) -> torch.Tensor:
        """Random erasing (Zhong et al. 2017): area 2 to 25 %, aspect .3 to 3.3, filled with one random grey."""
        count, _, height, width = faces.shape
        chosen = self._uniform(count, faces, 0, 1) < probability
        area = self._uniform(count, faces, 0.02, 0.25)
        aspect = torch.exp(self._uniform(count, faces, math.log(0.3), math.log(3.3)))
        high = (area * aspect).sqrt().clamp(max=0.9) * height
        wide = (area / aspect).sqrt().clamp(max=0.9) * width
        top = self._uniform(count, faces, 0, 1) * (height - high)
        left = self._uniform(count, faces, 0, 1) * (width - wide)
        y = torch.arange(height, device=faces.device, dtype=faces.dtype)
        x = torch.arange(width, device=faces.device, dtype=faces.dtype)
        in_rows = (y >= top[:, None]) & (y < (top + high)[:, None])
        in_columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
        mask = in_rows[:, :, None] & in_columns[:, None, :] & chosen[:, None, None]
        grey = self._uniform(count, faces, 0, 1)
        return torch.where(mask[:, None], grey[:, None, None, None], faces)

    def _uniform(self, count: int, like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return (torch.rand(count, generator=self.generator) * (high - low) + low).to(like, non_blocking=True)


def mix(
    faces: torch.Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix each face with another of the batch: mixup (Zhang 2018) or cutmix (Yun 2019), as configured.

    Returns:
        Mixed faces, the index [N] of the partner, and the share of the face itself. The targets mix by that share.
    """
    kinds = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    kind = kinds[int(torch.randint(len(kinds), (1,), generator=generator))]
    alpha = getattr(config, kind)
    # Torch's Beta takes no generator.
    share = _beta(alpha, generator)
    partner = torch.randperm(len(faces), generator=generator).to(faces.device, non_blocking=True)
    if kind == "mixup":
        return faces * share + faces[partner] * (1 - share), partner, share
    height, width = faces.shape[-2:]
    cut = math.sqrt(1 - share)
    high, wide = int(height * cut), int(width * cut)
    top = int(torch.randint(height - high + 1, (1,), generator=generator))
    left = int(torch.randint(width - wide + 1, (1,), generator=generator))
    mixed = faces.clone()
    mixed[..., top : top + high, left : left + wide] = faces[partner][..., top : top + high, left : left + wide]
    return mixed, partner, 1 - high * wide / (height * width)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha) by Johnk's rejection (1964), which needs uniform numbers only.

    At alpha 4, the most that is allowed, one draw of 70 is taken; it gets worse fourfold with every 1.
    """
    while True:
        u, v = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        x, y = u ** (1 / alpha), v ** (1 / alpha)
        if 0 < x + y <= 1:
            return float(x / (x + y))

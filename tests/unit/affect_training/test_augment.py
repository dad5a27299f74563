from typing import Any

import numpy as np
import pytest
import torch
from affect_training.augment import Augment, _beta, mix
from affect_training.config import AugmentConfig
from scipy import stats

FACES = torch.rand(32, 1, 48, 48, generator=torch.Generator().manual_seed(0))
EVERYTHING: dict[str, Any] = {
    "mirror": True, "rotation_deg": 15, "zoom": (0.8, 1.25), "shift": 0.1, "shear_deg": 10, "size": 44,
    "brightness": 0.2, "contrast": 0.2, "noise": 0.1, "blur": 0.5, "erasing": 0.5,
}  # fmt: skip


def changed(
    faces: torch.Tensor, *, seed: int = 0, strength: float = 1.0, erase: bool = True, **of: Any
) -> torch.Tensor:
    augment = Augment(AugmentConfig(**of), torch.Generator().manual_seed(seed))
    return augment(faces, strength=strength, erase=erase)


def spot(x: int, y: int, count: int = 200) -> torch.Tensor:
    """Faces with one soft spot at column x, row y."""
    columns, rows = torch.arange(48.0), torch.arange(48.0)[:, None]
    face = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return face.expand(count, 1, 48, 48).clone()


def centres(faces: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass [N, 2], x and y, relative to the middle of the picture."""
    mass = faces[:, 0] / faces.sum(dim=(1, 2, 3))[:, None, None]
    place = torch.arange(faces.shape[-1]) - (faces.shape[-1] - 1) / 2
    return torch.stack([(mass.sum(1) * place).sum(1), (mass.sum(2) * place).sum(1)], dim=1)


def test_nothing_configured_changes_nothing() -> None:
    assert torch.equal(changed(FACES), FACES)


def test_the_generator_decides_everything() -> None:
    torch.manual_seed(1)
    one = changed(FACES, **EVERYTHING)
    torch.manual_seed(2)
    assert torch.equal(changed(FACES, **EVERYTHING), one)
    assert not torch.equal(changed(FACES, seed=1, **EVERYTHING), one)
    assert one.shape == (32, 1, 44, 44)
    assert bool(one.isfinite().all())


def test_a_mirror_alone_is_exact_and_turns_about_half() -> None:
    found = changed(FACES, mirror=True)
    turned = [torch.equal(new, old.flip(2)) for new, old in zip(found, FACES, strict=True)]
    as_it_was = [torch.equal(new, old) for new, old in zip(found, FACES, strict=True)]
    assert sum(turned) + sum(as_it_was) == 32
    assert 8 < sum(turned) < 24


def test_a_mirror_with_geometry_is_the_same_mirror() -> None:
    exact = changed(FACES, mirror=True)
    sampled = changed(FACES, mirror=True, zoom=(1.0, 1.0000001))
    torch.testing.assert_close(sampled, exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [42, 44])
def test_a_smaller_size_is_the_centre(size: int) -> None:
    start = (48 - size) // 2
    centre = FACES[..., start : start + size, start : start + size]
    assert torch.equal(changed(FACES, size=size), centre)
    torch.testing.assert_close(changed(FACES, size=size, zoom=(1.0, 1.0000001)), centre, atol=1e-3, rtol=0)


def test_shifts_go_as_far_as_they_say_in_both_directions() -> None:
    moved = centres(changed(spot(24, 24), shift=0.125)) - 0.5
    for axis in (0, 1):
        assert float(moved[:, axis].abs().max()) <= 6.01  # an eighth of 48
        assert float(moved[:, axis].min()) < -4.5
        assert float(moved[:, axis].max()) > 4.5


def test_zoom_enlarges_and_shrinks_within_its_range() -> None:
    for low, high in ((0.8, 0.8), (1.25, 1.25)):
        distance = centres(changed(spot(34, 24), zoom=(low, high)))[:, 0]
        assert distance.tolist() == pytest.approx([10.5 * low] * 200, abs=0.1)
    spread = centres(changed(spot(34, 24), zoom=(0.8, 1.25)))[:, 0] / 10.5
    assert 0.79 < float(spread.min()) < 0.85
    assert 1.18 < float(spread.max()) < 1.26


def test_rotation_keeps_the_distance_and_stays_within_its_angle() -> None:
    place = centres(changed(spot(36, 24), rotation_deg=20))
    assert place.norm(dim=1).tolist() == pytest.approx([12.51] * 200, abs=0.15)
    angle = torch.rad2deg(torch.atan2(place[:, 1], place[:, 0])) - 2.3  # where it was
    assert float(angle.abs().max()) < 20.5
    assert float(angle.min()) < -16
    assert float(angle.max()) > 16


def test_shear_moves_rows_and_not_columns_of_the_middle() -> None:
    above = centres(changed(spot(24, 12), shear_deg=20))
    assert above[:, 1].tolist() == pytest.approx([-11.5] * 200, abs=0.15)
    assert float(above[:, 0].max() - above[:, 0].min()) > 5
    middle = centres(changed(spot(30, 24), shear_deg=20))
    assert middle[:, 0].tolist() == pytest.approx([6.5] * 200, abs=0.3)


@pytest.mark.parametrize("of", [{"rotation_deg": 30}, {"shift": 0.3}, {"shear_deg": 30}, {"zoom": (0.5, 2.0)}], ids=str)
def test_without_strength_geometry_rests(of: dict[str, Any]) -> None:
    torch.testing.assert_close(changed(FACES, strength=0.0, **of), FACES, atol=1e-4, rtol=0)


def test_the_border_is_repeated() -> None:
    white = torch.ones(8, 1, 48, 48)
    assert bool((changed(white, shift=0.4, zoom=(0.5, 0.5), rotation_deg=40) > 0.999).all())


# Light


def test_brightness_and_contrast_change_levels_and_stay_on_the_scale() -> None:
    faces = FACES * 0.5 + 0.25
    gain = changed(faces, brightness=0.2).mean(dim=(1, 2, 3)) / faces.mean(dim=(1, 2, 3))
    assert 0.8 <= float(gain.min()) < 0.9
    assert 1.1 < float(gain.max()) <= 1.2
    found = changed(faces, contrast=0.2)
    assert found.mean(dim=(1, 2, 3)).tolist() == pytest.approx(faces.mean(dim=(1, 2, 3)).tolist(), abs=1e-5)
    spread = found.std(dim=(1, 2, 3)) / faces.std(dim=(1, 2, 3))
    assert 0.8 <= float(spread.min()) < 0.9
    assert 1.1 < float(spread.max()) <= 1.2
    wild = changed(FACES, brightness=1.0, contrast=1.0)
    assert 0 <= float(wild.min()) <= float(wild.max()) <= 1


def test_noise_is_of_a_strength_of_its_own_in_each_face() -> None:
    sigma = changed(torch.full((100, 1, 48, 48), 0.5), noise=0.2).std(dim=(1, 2, 3))
    assert float(sigma.max()) < 0.21
    assert float(sigma.max()) > 0.15
    assert float(sigma.min()) < 0.05


def test_blur_softens_about_as_many_as_it_says_and_keeps_the_mean() -> None:
    faces = FACES.repeat(8, 1, 1, 1)
    found = changed(faces, blur=0.5)
    same = (found == faces).flatten(1).all(1)
    assert 0.35 < 1 - float(same.float().mean()) < 0.65
    assert bool((found[~same].std(dim=(1, 2, 3)) < faces[~same].std(dim=(1, 2, 3))).all())
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), faces.mean(dim=(1, 2, 3)), atol=5e-3, rtol=0)
    flat = torch.full((4, 1, 48, 48), 0.3)
    torch.testing.assert_close(changed(flat, blur=1.0), flat)


def test_erasing_fills_a_rectangle_with_one_grey() -> None:
    faces = FACES.repeat(8, 1, 1, 1)
    found = changed(faces, erasing=0.5)
    hit = found != faces
    erased = hit.flatten(1).any(1)
    assert 0.35 < float(erased.float().mean()) < 0.65
    for face, where in zip(found[erased][:40, 0], hit[erased][:40, 0], strict=True):
        rows, columns = where.any(1).nonzero().ravel(), where.any(0).nonzero().ravel()
        box = face[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        assert len(box.unique()) == 1
        assert 0.01 < box.numel() / 48**2 < 0.29
    assert torch.equal(changed(faces, erasing=1.0, erase=False), faces)


# Mixing


def test_mixup_mixes_each_face_with_its_partner() -> None:
    mixed, partner, share = mix(FACES, AugmentConfig(mixup=0.5), torch.Generator().manual_seed(3))
    assert sorted(partner.tolist()) == list(range(32))
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * FACES + (1 - share) * FACES[partner])


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_takes_a_rectangle_of_its_share_from_the_partner(seed: int) -> None:
    before = FACES.clone()
    mixed, partner, share = mix(FACES, AugmentConfig(cutmix=1.0), torch.Generator().manual_seed(seed))
    other = mixed != FACES
    # Where a face is its own partner nothing changes.
    moved = partner != torch.arange(32)
    assert other[moved].float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([1 - share] * int(moved.sum()))
    assert torch.equal(mixed[other], FACES[partner][other])
    assert torch.equal(FACES, before)


def test_with_both_configured_one_of_them_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    config = AugmentConfig(mixup=1.0, cutmix=1.0)
    cut = []
    for _ in range(40):
        mixed, partner, _ = mix(FACES, config, generator)
        cut.append(bool(((mixed == FACES) | (mixed == FACES[partner])).all()))
    assert 8 < sum(cut) < 32


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    generator = torch.Generator().manual_seed(4)
    drawn = np.array([_beta(alpha, generator) for _ in range(400)])
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_nothing_that_is_drawn_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces on another device than the generator's, where nothing is computed."""
    to = torch.Tensor.to
    moved: list[bool] = []

    def noted(tensor: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
        answer = to(tensor, *where, **how)
        if tensor.device != answer.device:
            moved.append(bool(how.get("non_blocking")))
        return answer

    monkeypatch.setattr(torch.Tensor, "to", noted)
    config = AugmentConfig(mirror=True, rotation_deg=10, noise=0.1, blur=0.5, erasing=0.5, mixup=0.5)
    generator = torch.Generator().manual_seed(0)
    faces = torch.empty(4, 1, 48, 48, device="meta")
    mix(Augment(config, generator)(faces), config, generator)
    assert len(moved) > 10
    assert all(moved)

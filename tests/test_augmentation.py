import pytest
import torch

from helpers.augmentation import (
    Augmentation,
    random_affine,
    random_erasing,
    random_flip,
    random_shift,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (200, 1, 28, 28), generator=generator(), dtype=torch.uint8)


def test_a_shift_moves_whole_pixels_and_fills_with_black(images):
    shifted = random_shift(images, generator(), pixels=2)
    assert shifted.dtype == torch.uint8
    seen = set()
    for before, after in zip(images[:, 0], shifted[:, 0], strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = torch.zeros_like(before)
                expected[max(down, 0) : 28 + min(down, 0), max(right, 0) : 28 + min(right, 0)] = (
                    before[max(-down, 0) : 28 + min(-down, 0), max(-right, 0) : 28 + min(-right, 0)]
                )
                if torch.equal(after, expected):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25  # every one of the 5 x 5 shifts occurs among 200 images


def test_a_flip_mirrors_about_half_of_the_images(images):
    flipped = random_flip(images, generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(dim=1)
    kept = (flipped == images).flatten(1).all(dim=1)
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130


def test_an_affine_map_of_no_strength_changes_nothing(images):
    torch.testing.assert_close(
        random_affine(images, generator(), degrees=0, scale=0), images.float(), atol=0.01, rtol=0
    )


def test_a_turn_moves_ink_where_it_should():
    bar = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    bar[:, :, 4:24, 13:15] = 255  # upright
    turned = random_affine(bar, generator(), degrees=30, scale=0)
    top = turned[:, 0, 6]  # the row near the upper end
    place = (top * torch.arange(28)).sum(dim=1) / top.sum(dim=1) - 13.5
    furthest = 7.5 * torch.tan(torch.tensor(30 * torch.pi / 180))
    assert place.abs().max() <= furthest + 0.5
    assert place.min() < -2 and place.max() > 2  # noqa: PT018 - both ways
    assert abs(turned.sum() / bar.sum() - 1) < 0.02  # turning neither makes ink nor loses it


def test_a_resize_changes_the_area():
    square = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    square[:, :, 9:19, 9:19] = 255
    areas = random_affine(square, generator(), degrees=0, scale=0.2).sum(dim=(1, 2, 3)) / 255
    assert 60 < areas.min() < 75  # 0.8 squared of 100 is 64
    assert 130 < areas.max() < 150  # 1.2 squared of 100 is 144


def test_turning_and_resizing_at_once_is_what_torchvision_does(images):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import affine

    few = images[:20].float()
    angles, sizes = torch.rand(2, 20, generator=generator()) * 2 - 1
    expected = [
        affine(
            image, 40 * angle.item(), [0, 0], 1 + 0.3 * size.item(), [0.0],
            InterpolationMode.BILINEAR,
        )
        for image, angle, size in zip(few, angles, sizes, strict=True)
    ]  # fmt: skip
    varied = random_affine(few, generator(), degrees=40, scale=0.3)
    torch.testing.assert_close(varied, torch.stack(expected), atol=0.05, rtol=0)


def test_erasing_blackens_rectangles_in_the_stated_share(images):
    erased = random_erasing(images, generator(), share=0.5)
    gone = erased == 0
    touched = gone.flatten(1).any(dim=1)
    assert 70 < touched.sum() < 130
    assert torch.equal(erased[~gone], images[~gone])
    for hole in gone[touched][:, 0]:
        rows, columns = hole.any(dim=1).nonzero(), hole.any(dim=0).nonzero()
        assert hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert hole.sum() <= 0.33 * 28 * 28 + 60


def test_a_batch_is_varied_where_it_lies(images):
    """On torch's "meta" device, which holds no numbers; nothing is mixed with another device."""
    elsewhere = images.to("meta")
    augment = Augmentation(shift=1, degrees=10, scale=0.1, flip=True, erase=0.3)
    varied = augment(elsewhere, None)
    assert (varied.device.type, varied.shape) == ("meta", images.shape)


def test_steps_combine_and_the_seed_decides(images):
    augment = Augmentation(shift=1, degrees=10, scale=0.1, flip=True, erase=0.3)
    first, same = augment(images, generator(1)), augment(images, generator(1))
    assert torch.equal(first, same)
    assert not torch.equal(first, augment(images, generator(2)))
    assert first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 255.01  # noqa: PT018


def test_by_default_nothing_happens(images):
    assert Augmentation()(images, generator()) is images


def test_the_images_given_are_left_as_they_were(images):
    before = images.clone()
    Augmentation(shift=2, degrees=10, scale=0.1, flip=True, erase=1)(images, generator())
    assert torch.equal(images, before)


@pytest.mark.parametrize("settings", [{"shift": -1}, {"scale": 1}, {"erase": 1.5}, {"degrees": -3}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="Wanted shift >= 0"):
        Augmentation(**settings)

"""Augmentation: photos stay photos, mixtures keep the books, strength is a number, and the default is what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import headstart
from headstart import _augment, _network, _training, registry
from headstart._augment import CHANGES, MIXTURES, PHOTOS, Augmentation
from headstart.backbones import find
from headstart.errors import ProblemError, UnknownName
from headstart.features import FeatureStore, Lens
from headstart.strategy import Plan, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem

PLAN = Plan(epochs=4, tuned_epochs=3, threads=1)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(n=8, side=24, *, smooth=True):
    """Soft blobs: a photo that moves by half a pixel hardly changes."""
    found = torch.rand(n, 3, 6 if smooth else side, 6 if smooth else side, generator=drawn(7))
    grown = torch.nn.functional.interpolate(found, size=(side, side), mode="bilinear", align_corners=False)
    return (255 * grown).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def change(kind, strength, seed=0, images=None):
    images = photos() if images is None else images
    return Augmentation.named(kind, strength=strength).photos(images, drawn(seed))


@pytest.mark.parametrize("kind", PHOTOS)
def test_augmented_photos_are_photos_and_repeat(kind):
    images = photos()
    before = images.clone()
    first, second, other = (change(kind, 0.5, seed, images) for seed in (1, 1, 2))
    assert (first.dtype, first.shape) == (torch.uint8, images.shape)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", PHOTOS)
def test_strength_is_how_far_a_photo_goes_and_zero_is_not_at_all(kind):
    images = photos(64)
    far = [(change(kind, s, 3, images).float() - images.float()).abs().mean().item() for s in (0.0, 0.25, 0.5, 1.0)]
    assert far[0] == 0
    assert far == sorted(far)
    assert far[3] > 1.3 * far[1]


@pytest.mark.parametrize("place", range(len(CHANGES)))
def test_a_change_of_magnitude_zero_changes_nothing_and_others_do(place):
    pixels = photos(3).permute(0, 3, 1, 2).float()
    still = CHANGES[place](pixels.clone(), torch.zeros(3))
    assert (still - pixels).abs().max() < 1e-2
    for m in (1.0, -1.0):
        moved = CHANGES[place](pixels.clone(), torch.full((3,), m)).clamp(0, 255)
        assert moved.shape == pixels.shape
        assert torch.isfinite(moved).all()
        assert (moved - pixels).abs().mean() > 0.2


def test_a_rotation_turns_and_a_shift_moves():
    dot = torch.zeros(1, 3, 21, 21)
    dot[0, :, 10, 20] = 255  # the middle of the right edge
    rotated, shifted = CHANGES[0](dot, torch.ones(1)), CHANGES[3](dot, torch.full((1,), 0.5))
    row, column = divmod(int(rotated[0, 0].argmax()), 21)
    assert np.isclose(np.hypot(row - 10, column - 10), 10, atol=1)
    assert np.isclose(np.degrees(np.arctan2(abs(row - 10), column - 10)), 30, atol=5)
    assert abs(20 - int(shifted[0, 0].argmax()) % 21 - 0.15 * 21) <= 1  # half of 0.3 of the side


def test_erasing_replaces_one_rectangle_in_about_a_share_of_the_photos():
    white = torch.full((400, 20, 20, 3), 255, dtype=torch.uint8)
    changed = (change("erasing", 0.5, 1, white) != 255).any(dim=3)
    hit = changed.flatten(1).any(dim=1)
    assert 0.42 < hit.float().mean() < 0.58
    for one in changed[hit][:40]:
        rows, columns = one.any(dim=1).nonzero().flatten(), one.any(dim=0).nonzero().flatten()
        box = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.float().mean() > 0.9  # noise may be white too
        assert 1 / 400 <= box.numel() / 400 <= 0.5


def test_mixup_is_a_weighted_mean_of_photos_or_states():
    for inputs in (photos(), torch.randn(8, 5, generator=drawn()), torch.randn(8, 4, 3, 3, generator=drawn())):
        found = Augmentation.named("mixup", strength=0.5).mixed(inputs, drawn(4))
        expected = found.share * inputs.float() + (1 - found.share) * inputs[found.other].float()
        assert torch.equal(found.inputs, expected)
        assert 0 <= found.share <= 1


@pytest.mark.parametrize("shape", [(8, 24, 24, 3), (8, 5, 12, 12)])
def test_cutmix_shows_each_of_two_items_in_its_share(shape):
    inputs = torch.arange(8).view(8, 1, 1, 1).expand(shape)
    inputs = inputs.to(torch.uint8).contiguous() if shape[-1] == 3 else inputs.float().contiguous()
    shares = []
    for seed in range(30):
        found = Augmentation.named("cutmix", strength=1.0).mixed(inputs, drawn(seed))
        for row, other in enumerate(found.other.tolist()):
            own = (found.inputs[row] == row).float().mean().item()
            assert np.isclose(own, 1.0 if other == row else found.share, atol=1e-6)
        shares.append(found.share)
    assert found.inputs.dtype == inputs.dtype
    assert min(shares) < 0.3 < 0.7 < max(shares)
    half = [Augmentation.named("cutmix", strength=0.5).mixed(inputs, drawn(seed)) is not None for seed in range(200)]
    assert 0.4 < np.mean(half) < 0.6


def test_of_two_ways_to_mix_each_batch_has_one():
    inputs, both = photos(), Augmentation.named("mixup/cutmix", strength=1.0)
    found = [both.mixed(inputs, drawn(seed)).inputs.dtype for seed in range(40)]
    assert {torch.float32, torch.uint8} == set(found)


def test_what_does_not_fit_is_left_as_it_is_and_not_named():
    every = Augmentation.named("/".join((*PHOTOS, *MIXTURES)), strength=0.5)
    rows, maps = torch.randn(4, 12), torch.randn(4, 3, 5, 5)
    assert every.photos(rows, drawn()) is rows
    assert str(every.suited(photos(), link="softmax")) == str(every)
    assert str(every.suited(photos(), link="identity")) == "flip_crop/randaugment/erasing"
    assert str(every.suited(maps, link="sigmoid")) == "mixup/cutmix"
    assert str(every.suited(rows, link="softmax")) == "mixup"
    assert str(every.suited(object(), link="softmax")) == "none"
    assert str(Augmentation.named("flip_crop/mixup", strength=0.0).suited(photos(), link="softmax")) == "none"
    assert Augmentation.named("mixup", strength=0.0).mixed(rows, drawn()) is None


def test_a_kind_or_strength_that_does_not_exist_is_named():
    assert strategy_named("scratch:augment=randaugment,strength=0.3").strength == 0.3
    for name in ("scratch", "fine_tune"):
        with pytest.raises(UnknownName, match="Did you mean 'randaugment'"):
            strategy_named(f"{name}:augment=randaugmnt")
        with pytest.raises(ProblemError, match="strength of augmentation is 2"):
            strategy_named(f"{name}:strength=2")


def formerly(images, generator, *, area=0.35, light=0.3):
    """How photos were augmented before there was a choice."""
    n = len(images)
    draw = torch.rand(6, n, generator=generator)
    size = (area + (1 - area) * draw[0]).sqrt()
    aspect = torch.exp((draw[1] - 0.5) * 0.5)
    wide, high = (size * aspect.sqrt()).clamp(max=1.0), (size / aspect.sqrt()).clamp(max=1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide * torch.where(draw[2] < 0.5, -1.0, 1.0), high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * (2 * draw[3] - 1), (1 - high) * (2 * draw[4] - 1)
    pixels = images.permute(0, 3, 1, 2).float()
    grid = torch.nn.functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = torch.nn.functional.grid_sample(pixels, grid, align_corners=False)
    gain = 1 + light * (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = ((pixels - middle) * gain[0] + middle) * gain[1]
    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def test_the_default_is_bit_for_bit_the_former_recipe():
    images = photos(16, smooth=False)
    default = strategy_named("scratch")._augmentation()
    assert torch.equal(default.photos(images, drawn(5)), formerly(images, drawn(5)))
    assert torch.equal(strategy_named("fine_tune")._augmentation().photos(images, drawn(6)), formerly(images, drawn(6)))
    generator = drawn(8)
    share = float(np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator))).beta(0.2, 0.2))
    other = torch.randperm(16, generator=generator)
    mixed = default.mixed(images, drawn(8))
    assert torch.equal(mixed.inputs, share * images.float() + (1 - share) * images[other].float())
    assert strategy_named("fine_tune")._augmentation().mixed(images, drawn()) is None


def test_without_flip_no_photo_is_mirrored():
    left = torch.zeros(64, 16, 16, 3, dtype=torch.uint8)
    left[:, :, :8] = 200
    for flip, most in ((False, 0.0), (True, 0.7)):
        found = Augmentation(("flip_crop",), 0.5, flip=flip).photos(left, drawn(2)).float()
        right = found[:, :, 8:].mean(dim=(1, 2, 3)) > found[:, :, :8].mean(dim=(1, 2, 3)) + 1
        assert right.float().mean() <= most
        assert right.any() == flip


def test_each_kind_of_input_says_which_views_it_offers():
    image, text, numbers = (registry.get("inputs", name)() for name in ("image", "text", "numbers"))
    assert image.views(4) == ("flip", "crop-1-flip", "crop-2", "crop-3-flip")
    assert (image.views(1), image.views(0)) == (("flip",), ())
    assert (text.views(3), numbers.views(3)) == ((), ())
    assert _network.views_of(toy_backbone(kind="image"), 3) == ("", "flip", "crop-1-flip")
    assert _network.views_of(toy_backbone(kind="numbers"), 3) == ("",)
    assert _network.views_of(toy_backbone(kind="image"), 0) == ("",)


def test_a_mixed_batch_has_the_mixed_loss_and_penalty():
    backbone, (problem, _) = toy_backbone(), toy_problem(n=24)
    labels = _training.Labels.of(problem.task, problem.train)
    model = _network.Model.of(backbone.network(), problem.task.width)
    model.set_head(np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), np.zeros(3, np.float32))
    rows = torch.from_numpy(backbone.prepare(problem.train.inputs))
    schedule = _training.Schedule(1, mixture=Augmentation.named("mixup", strength=1.0))
    seen = []

    def penalty(step):
        seen.append(step.encoded)
        return step.encoded[0].float()

    none = np.zeros(0, dtype=int)
    work = _training.Work(model, None, problem.task, none, none, [], schedule, 0, "a test", penalty=penalty)
    found = float(_training._loss(work, rows, *labels.take(np.arange(24)), drawn(3)).detach())
    mixed = schedule.mixture.mixed(rows, drawn(3))
    scores = model.scores(mixed.inputs).log_softmax(dim=1)
    soft = mixed.share * torch.eye(3)[labels.encoded] + (1 - mixed.share) * torch.eye(3)[labels.encoded[mixed.other]]
    first, second = labels.encoded[0], labels.encoded[mixed.other][0]
    expected = -(soft * scores).sum(dim=1).mean() + mixed.share * first + (1 - mixed.share) * second
    assert 0.02 < mixed.share < 0.98
    assert np.isclose(found, float(expected.detach()), atol=1e-6)
    assert [one.tolist() for one in seen] == [labels.encoded.tolist(), labels.encoded[mixed.other].tolist()]


@pytest.mark.parametrize("name", ["scratch:augment=none", "fine_tune:augment=mixup+last", "fine_tune:augment=none+last"])
def test_the_predictor_says_what_was_used(name):
    problem, _ = toy_problem(noise=0.2)
    lens = Lens(((toy_backbone(), "stage3"),), "stage1")
    lens = lens.untrained(slim=True) if name.startswith("scratch") else lens
    usual, one = (
        Recipe(strategy_named(n), lens).fit(problem, plan=PLAN)
        for n in (name.split(":")[0] + name[-5:] * ("last" in name), name)
    )
    assert one.notes["augment"] == name.split("=")[1].removesuffix("+last")
    assert usual.notes["augment"] == ("mixup" if name.startswith("scratch") else "none")  # rows of numbers are no photos
    same = one.notes["augment"] == usual.notes["augment"]
    arrays, others = one.state()[1], usual.state()[1]
    assert all(np.array_equal(arrays[key], others[key]) for key in arrays) == same


def test_photos_above_a_cut_have_cached_views_and_mixed_states_and_below_none_augmented_photos():
    draw = np.random.default_rng(0)
    problem, _ = headstart.read(headstart.from_arrays(draw.integers(0, 256, (16, 32, 32, 3), np.uint8), ["a", "b"] * 8))
    slim = find("efficientnet_lite0").untrained(slim=True)
    above = Lens(((slim, "head"),), slim.taps[-3].name, FeatureStore())
    found = {}
    for augment in ("flip_crop/mixup/cutmix", "randaugment", "none"):
        tuned = Recipe(strategy_named(f"fine_tune:augment={augment},epochs=1+last"), above).fit(problem, plan=PLAN)
        found[augment] = (tuned.notes["views"], tuned.notes["augment"])
    assert found == {"flip_crop/mixup/cutmix": (2, "mixup/cutmix"), "randaugment": (2, "none"), "none": (1, "none")}
    whole = Lens(((slim, "head"),), None)
    tuned = Recipe(strategy_named("fine_tune:augment=erasing,epochs=1+full+last"), whole).fit(problem, plan=PLAN)
    assert (tuned.notes["views"], tuned.notes["augment"]) == (1, "erasing")


def test_the_kinds_are_all_there_and_none_is_the_empty_one():
    assert {"flip_crop", "randaugment", "erasing"} == set(_augment.PHOTOS)
    assert {"mixup", "cutmix"} == set(_augment.MIXTURES)
    assert Augmentation.named("none", strength=0.5) == Augmentation()

"""Strips: the first samples of every cell, cut from the pictures that a run keeps."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from samplerbench.bench.trajectory import FILM, film
from samplerbench.images import sample_grid
from samplerbench.report import films, pictures
from samplerbench.report.export import write_bundle
from samplerbench.report.overview import overview
from samplerbench.report.pictures import cut_grid

from .conftest import HASHES, cell, write_run

MODEL = HASHES["model_sha256"] * 16


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 80, 96), (1, 8, 8), (3, 16, 24)])
@pytest.mark.parametrize("count", [1, 5, 64])
def test_a_grid_is_cut_into_the_images_that_it_was_made_of(tmp_path, shape, count):
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    sample_grid(images).save(tmp_path / "grid.png")
    found = cut_grid(tmp_path / "grid.png", *shape[1:])
    assert len(found) >= count
    assert np.array_equal(found[:count], images.permute(0, 2, 3, 1).numpy())
    with pytest.raises(ValueError, match="are no grid of images"):
        cut_grid(tmp_path / "grid.png", shape[1] + 1, shape[2])


@pytest.fixture
def run(tmp_path):
    """A run of two cells with pictures of given shape, and what is drawn in them."""

    def of(shape, count=16, model=MODEL):
        cells = [cell("ddim", n, 20.0, samples=count, fid_n=count) for n in (5, 10)]
        folder = write_run(tmp_path / "run", cells)
        (folder / "run.json").write_text(json.dumps({"model": {"sample_shape": shape, "sha256": model}}))
        (folder / "samples").mkdir(exist_ok=True)
        drawn = []
        for one in cells:
            drawn.append(torch.randint(0, 256, (count, *shape), dtype=torch.uint8))
            sample_grid(drawn[-1]).save(folder / "samples" / f"ddim-{one['key'][:8]}-{count}.png")
        return folder, drawn

    return of


def pixels(strip):
    with Image.open(io.BytesIO(strip.image)) as image:
        return np.asarray(image)


def test_a_strip_is_the_first_samples_side_by_side(run, registry):
    folder, drawn = run((3, 32, 32))
    found = overview([folder], "fid", registry)
    assert not found.notes
    for strip, images, column in zip(found.strips, drawn, (5, 10), strict=True):
        assert (strip.label, strip.column, strip.count, strip.media) == ("ddim (uniform)", column, 8, "image/png")
        strip_pixels = pixels(strip)
        assert strip_pixels.shape[:2] == (strip.height, strip.width) == (32, 8 * 33 - 1)
        for i in range(8):
            assert np.array_equal(strip_pixels[:, 33 * i : 33 * i + 32], images[i].permute(1, 2, 0).numpy())


def test_few_samples_make_a_short_strip(run, registry):
    folder, _ = run((1, 28, 28), count=3)
    assert [strip.count for strip in overview([folder], "fid", registry).strips] == [3, 3]


def test_large_images_are_made_small_and_said_to_be(run, registry):
    folder, drawn = run((1, 128, 64), count=4)
    found = overview([folder], "fid", registry)
    assert (found.strips[0].height, found.strips[0].width) == (64, 4 * 33 - 1)
    assert found.notes == ("The pictures are shown smaller, 64 pixels wide.",)
    means = drawn[0][1].float().reshape(64, 2, 32, 2).mean(dim=(1, 3)).numpy()
    assert np.abs(pixels(found.strips[0])[:, 33:65] - means).max() <= 1


def test_strips_fit_into_their_bound(run, registry, monkeypatch):
    folder, _ = run((3, 32, 32))
    sizes = {}
    for most, media in ((60_000, "image/png"), (30_000, "image/webp"), (6_000, "image/webp")):
        monkeypatch.setattr(pictures, "MOST", most)
        found = overview([folder], "fid", registry)
        assert {strip.media for strip in found.strips} == {media}
        assert sum(len(strip.image) for strip in found.strips) <= most
        sizes[most] = found.strips[0].count
        assert bool(found.notes) == (media == "image/webp")
    assert sizes[60_000] == 8 > sizes[6_000] >= 1


@pytest.fixture
def filmed(run):
    """The same with trajectories of four samples in three evaluations at 5, and in six at 10."""
    folder, _ = run((1, 28, 28))
    (folder / "trajectories").mkdir(exist_ok=True)
    frames = []
    for path, count in zip(sorted((folder / "samples").iterdir()), (3, 6), strict=True):
        frames.append(torch.randint(0, 256, (count + 2, 4, 1, 28, 28), dtype=torch.uint8))
        picture, about = film(frames[-1], list(range(1, count + 1)))
        picture.save(folder / "trajectories" / path.name, pnginfo=about)
    return folder, frames


def test_a_film_shows_the_first_samples_at_one_column(filmed, registry):
    folder, frames = filmed
    (one,) = overview([folder], "fid", registry).films
    number = len(one.evaluations)
    (drawn,) = [each for each in frames if len(each) == number + 2]
    assert (one.column, one.count, one.media) == (5, 2, "image/png")  # the middle column, of two the first
    shown = pixels(one)
    assert shown.shape == (one.height, one.width) == (2 * 30 - 2, (number + 2) * 30 - 2)
    for i in range(number + 2):
        for k in range(2):
            assert np.array_equal(shown[30 * k : 30 * k + 28, 30 * i : 30 * i + 28], drawn[i, k, 0].numpy())


def test_films_survive_the_mail(filmed, registry, tmp_path):
    folder, _ = filmed
    write_bundle(folder, tmp_path / "run.zip")
    there, here = (overview([path], "fid", registry) for path in (folder, tmp_path / "run.zip"))
    assert [pixels(one).tolist() for one in here.films] == [pixels(one).tolist() for one in there.films]
    assert here.films


def test_films_fit_into_their_bound_and_damage_is_said(filmed, registry, monkeypatch):
    folder, _ = filmed
    monkeypatch.setattr(films, "MOST", 2000)
    (one,) = overview([folder], "fid", registry).films
    assert (one.media, one.count) == ("image/webp", 1)
    assert films.ENTRY == FILM
    for path in (folder / "trajectories").iterdir():
        with Image.open(path) as picture:
            picture.load()
        picture.save(path)  # without what it says of itself
    found = overview([folder], "fid", registry)
    assert not found.films
    assert "is no picture of a trajectory" in found.notes[-1]


def test_pictures_of_others_are_left_out(run, registry):
    folder, _ = run((1, 28, 28), model="another")
    assert not overview([folder], "fid", registry).strips
    folder, _ = run((1, 28, 28))
    (first, *_) = sorted((folder / "samples").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    found = overview([folder], "fid", registry)
    assert len(found.strips) == 1
    assert "is no picture of samples" in found.notes[0]
    (folder / "run.json").unlink()
    assert not overview([folder], "fid", registry).strips

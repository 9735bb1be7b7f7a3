import torch

from samplerbench.images import quantise, sample_grid


def test_quantising_rounds_half_up_and_clips():
    levels = torch.arange(256)
    assert torch.equal(quantise(levels / 127.5 - 1), levels.to(torch.uint8))
    x = torch.tensor([-3.0, -1.0, 1.0, 3.0, (100.4999 / 127.5) - 1, (100.5001 / 127.5) - 1])
    assert quantise(x).tolist() == [0, 0, 255, 255, 100, 101]


def test_a_sample_has_its_place_in_the_grid():
    images = torch.zeros(5, 1, 4, 4, dtype=torch.uint8)
    images[3] = 200
    grid = sample_grid(images, gap=1, side=4)
    assert grid.size == (1 + 3 * 5, 1 + 2 * 5)
    assert grid.getpixel((1, 6)) == 200
    assert grid.getpixel((6, 6)) == 0
    assert sample_grid(images.expand(5, 3, 4, 4)).mode == "RGB"

"""`samplerbench sample` and `models held-out`: where a picture goes, and what cannot be drawn."""

from __future__ import annotations

import pytest

from samplerbench import sampled


@pytest.mark.parametrize("place", ["there.png", "file/a.png", "file/b/c.png"])
def test_a_picture_that_cannot_be_written_is_not_drawn(tiny_latent, tmp_path, command, monkeypatch, place):
    (tmp_path / "there.png").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(sampled, "picture", lambda *given: pytest.fail("it is drawn"))
    code, _, errors = command("sample", "--model", tiny_latent, "--out", tmp_path / place)
    assert code == 2
    assert f"--out {tmp_path / place} cannot be written: " in errors
    assert errors.count("\n") == 1


def test_a_new_folder_is_made_and_nothing_but_the_picture_left_in_it(tiny_latent, tmp_path, command):
    code, _, errors = command("sample", "--model", tiny_latent, "--nfe", 1, "--out", tmp_path / "a/b/x.png")
    assert code == 0, errors
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["x.png"]


@pytest.mark.parametrize("asked", [["sample", "--count"], ["models", "held-out", "--samples"]])
def test_samples_that_are_no_numbers_are_a_line(tmp_path, command, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    model = ["fashion-mnist-latent"] if "held-out" in asked else ["--model", "fashion-mnist-latent"]
    code, _, errors = command(*asked, 2, *model, "--sampler", "ddim", "--nfe", 2, "--guidance", "1e30")
    assert code == 2
    assert errors.splitlines()[-1].startswith("Error: ddim returned NaN or infinite values in 2 of 2 samples")
    assert "Traceback" not in errors
    assert not any(tmp_path.glob("*.png"))

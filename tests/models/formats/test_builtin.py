import subprocess
import sys

import pytest

from samplerbench import UserError
from samplerbench.models.formats.builtin import FORMATS
from samplerbench.models.formats.own import Own
from samplerbench.models.model import load_model


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("hf:google/ddpm-cifar10-32", "diffusers"),
        ("model-790000.ckpt", "ddpm-ckpt"),
        ("logs/ckpt_5000.pth", "ddpm-ckpt"),
        ("ema_0.9999_500000.pt", "guided-diffusion"),
        ("edm-cifar10-32x32-uncond-vp.pkl", "edm-pickle"),
        ("fashion-mnist", "samplerbench"),
        ("some.package:factory", "factory"),
        ("model.py:factory", "factory"),
        ("nothing", None),
    ],
)
def test_each_name_is_of_one_format(spec, name):
    assert [form.name for form in FORMATS if form.recognises(spec)] == ([name] if name else [])


def test_no_format(tmp_path):
    with pytest.raises(UserError, match=r"is a folder of no known format \(known: .*samplerbench's own has config"):
        load_model(str(tmp_path))


def test_several_formats(tmp_path):
    for name in ("config.json", "scheduler_config.json"):
        (tmp_path / name).write_text("{}")

    class Greedy(Own):
        name = "greedy"

        def recognises(self, spec):
            return True

    with pytest.raises(UserError, match="could be of several formats: diffusers, greedy"):
        load_model(str(tmp_path), formats=[(form, {}) for form in (*FORMATS, Greedy())])


def test_formats_are_listed_without_torch():
    code = "import sys; import samplerbench.models.formats.builtin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

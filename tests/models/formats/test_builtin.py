import subprocess
import sys

import pytest

from samplerbench import UserError
from samplerbench.models.formats.builtin import FORMATS, understand


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("hf:google/ddpm-cifar10-32", "diffusers"),
        ("model-790000.ckpt", "ddpm-ckpt"),
        ("logs/ckpt_5000.pth", "ddpm-ckpt"),
        ("ema_0.9999_500000.pt", "guided-diffusion"),
        ("edm-cifar10-32x32-uncond-vp.pkl", "edm-pickle"),
        ("fashion-mnist", None),
    ],
)
def test_each_name_is_of_one_format(spec, name):
    assert [form.name for form in FORMATS if form.recognises(spec)] == ([name] if name else [])


def test_no_format(tmp_path):
    with pytest.raises(UserError, match=r"is of no known format \(known: diffusers: .*; ddpm-ckpt: .*; guided-diff"):
        understand(str(tmp_path))


def test_formats_are_listed_without_torch():
    code = "import sys; import samplerbench.models.formats.builtin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

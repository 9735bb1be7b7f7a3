"""`samplerbench models show` and `export`, and `list models`, as a user meets them."""

from __future__ import annotations

import csv
import json

import pytest


def test_show(command):
    code, out, err = command("models", "show", "fashion-mnist")
    assert (code, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith("data set"))
    assert facts["format"] == "samplerbench"
    assert facts["images"] == "1×28×28, values from -1 to 1"
    assert facts["path"] == "linear (steps=1000, beta_first=0.0001, beta_last=0.02)"
    assert facts["times"] == "whole numbers t = 1 to T = 1000"
    assert facts["predicts"] == "v = α ε - σ x_0"
    assert facts["label"] == "t - 1, from 0 to 999; between two times it is told the number between"
    assert facts["network"] == "unet, 2,819,912 weights in 2 networks, one of which an evaluation takes"
    assert "─" not in out  # no table in a pipe


def test_show_json(command, tiny_model):
    code, out, _ = command("models", "show", tiny_model, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["label"] == {
        "kind": "index", "factor": 1.0, "offset": 0.0, "between": "interpolate", "at_ends": [0.0, 999.0],
    }  # fmt: skip
    assert facts["path"]["times"] == [1.0, 1000.0]
    assert facts["image_range"] == [-1, 1]


def test_show_what_a_diffusers_folder_says(command, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, down_block_types=["DownBlock2D"] * 2,
        up_block_types=["UpBlock2D"] * 2,
    )  # fmt: skip
    folder = tmp_path / "ddpm-cifar10-8"
    diffusers.DDPMPipeline(network, diffusers.DDIMScheduler(prediction_type="v_prediction")).save_pretrained(folder)
    code, out, _ = command("models", "show", folder)
    assert code == 0
    assert "data set   cifar10, by its name: a guess\n" in out
    assert "note       nearest here: --samplers ddim:spacing=uniform:clip=x0\n" in out
    assert "its authors' scheduler is DDIMScheduler with timestep_spacing=" in out
    assert "extractor  none of its own; name one with --extractor\n" in out
    copies = [tmp_path / "copy", tmp_path / "copy of it"]
    for made_from, copy in zip([folder, copies[0]], copies, strict=True):
        assert command("models", "export", made_from, copy)[0] == 0
        again = command("models", "show", copy)[1]
        assert "data set   cifar10, by its name: a guess\n" in again
        assert f"note       exported from {made_from.name} (" in again
        assert again.count("exported from") == 1
        notes = [line for line in out.splitlines() if line.startswith("note")]
        assert [line for line in again.splitlines() if line.startswith("note")][1:] == notes


@pytest.mark.parametrize(
    ("extractor", "why"),
    [
        ("fashion-mnist-cnn", "takes images of 1×28×28, not of 3×8×8"),
        ("inception", "unknown extractor 'inception'; did you mean"),
    ],
)
def test_show_says_what_run_says_of_an_extractor(command, tmp_path, extractor, why):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom samplerbench import Checkpoint, Preconditioning, linear_schedule\n\n"
        "class Same(torch.nn.Module):\n    def forward(self, x, label):\n        return x\n\n"
        "def model():\n    return Checkpoint(\n"
        f"        Same(), linear_schedule(), Preconditioning(), (3, 8, 8), extractor='{extractor}')\n"
    )
    spec = f"{tmp_path / 'net.py'}:model"
    code, out, err = command("models", "show", spec)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("extractor")]
    refused = command("run", "--model", spec, "--samplers", "ddim", "--out", tmp_path / "run")[2]
    assert why in refused
    assert (
        line == f"extractor  none that can be used; it names '{extractor}': {refused.removeprefix('Error: ').strip()}"
    )


def test_an_exported_model_gives_the_same_numbers(command, tiny_model, tmp_path):
    code, out, _ = command("models", "export", tiny_model, tmp_path / "copy")
    assert code == 0
    assert f"{tmp_path / 'copy'}: read back, its ε differs by 0 at most" in out
    rows = []
    for model in (tiny_model, tmp_path / "copy"):
        where = tmp_path / f"run-{model.name}"
        options = ["--nfe", 3, "--samples", 20, "--device", "cpu", "--quiet", "--out", where]
        assert command("run", "--model", model, "--samplers", "ddim,ddpm", *options)[0] == 0
        with (where / "results.csv").open() as file:
            rows.append([(row["sampler"], row["fid"]) for row in csv.DictReader(file)])
    assert rows[0] == rows[1]


def test_list_models(command):
    _, out, _ = command("list", "models")
    assert out.startswith("fashion-mnist\n  images     1×28×28\n  predicts ")
    latent = out.partition("\nfashion-mnist-latent\n")[2]
    assert latent.startswith("  images     1×28×28\n  latents    8×7×7\n  asked      a prompt a sample\n  predicts ")
    for name in ("samplerbench", "diffusers", "ddpm-ckpt", "guided-diffusion", "factory"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("action", [["show"], ["export"]])
class TestBadModels:
    def error(self, command, tmp_path, action, model):
        code, out, err = command("models", *action, model, *([tmp_path / "out"] if action == ["export"] else []))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return err

    def test_unknown(self, command, tmp_path, action):
        assert "did you mean 'fashion-mnist'" in self.error(command, tmp_path, action, "fashion-mnits")

    def test_no_format(self, command, tmp_path, action):
        assert "is a folder of no known format (known: " in self.error(command, tmp_path, action, tmp_path)

    def test_an_edm_pickle(self, command, tmp_path, action):
        (tmp_path / "edm.pkl").write_bytes(b"\x80\x02N.")
        assert "would run when loaded, and is refused" in self.error(command, tmp_path, action, tmp_path / "edm.pkl")

    def test_several_formats(self, command, tmp_path, action):
        plugin = tmp_path / "greedy.py"
        plugin.write_text(
            "import samplerbench\n"
            "class Greedy(samplerbench.ModelFormat):\n"
            "    name, about = 'greedy', 'all of them'\n"
            "    def recognises(self, spec):\n        return True\n"
            "    def load(self, spec):\n        raise AssertionError\n"
            "@samplerbench.hookimpl\n"
            "def samplerbench_models(register):\n    register(Greedy)\n"
        )
        target = [tmp_path / "out"] if action == ["export"] else []
        code, _, err = command("models", *action, "fashion-mnist", *target, "--plugin", plugin)
        assert code == 2
        assert err.startswith("Error: model 'fashion-mnist' could be of several formats: ")
        assert f"  greedy           all of them (from {plugin})" in command("list", "models", "--plugin", plugin)[1]

    def test_a_factory_that_raises(self, command, tmp_path, action):
        (tmp_path / "made.py").write_text("def factory():\n    raise ValueError('no weights')\n")
        target = [tmp_path / "out"] if action == ["export"] else []
        code, _, err = command("models", *action, f"{tmp_path / 'made.py'}:factory", *target)
        assert code == 2
        assert err.rstrip().splitlines()[-1].endswith("factory': ValueError: no weights")  # below its traceback
        assert not (tmp_path / "out").exists()

    def test_half_a_folder(self, command, tmp_path, action):
        (tmp_path / "half").mkdir()
        (tmp_path / "half" / "config.json").write_text('{"format": 2}')
        assert "lacks 'architecture'" in self.error(command, tmp_path, action, tmp_path / "half")


def test_bad_targets(command, tiny_model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for target, message in ((tmp_path / "full", "is not empty"), (tmp_path / "full" / "x", "is a file")):
        code, _, err = command("models", "export", tiny_model, target)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
    code, _, err = command("models", "export", tiny_model, tmp_path / "full" / "x" / "below")
    assert code == 2
    assert "Traceback" not in err

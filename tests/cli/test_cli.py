"""The command line as a user meets it: exit codes, messages, output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def small(tiny_model, tmp_path):
    return ["--model", tiny_model, "--samples", 20, "--nfe", "2,4", "--device", "cpu", "--out", tmp_path / "out"]


def test_help_and_version(command):
    code, out, _ = command("--help")
    assert code in (0, None)
    assert all(name in out for name in ("run", "list", "train"))
    assert "0.1.0" in command("--version")[1]


@pytest.mark.parametrize("arguments", [["--help"], ["list", "samplers"], ["list", "models"], ["list", "extractors"]])
def test_torch_and_pandas_are_not_imported_for(arguments):
    code = (
        "import sys; from samplerbench.cli import main; sys.argv[1:] = " + repr(arguments) + "\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'pandas', 'torch_fidelity'} & sys.modules.keys(); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_lists(command):
    code, out, _ = command("list", "samplers")
    assert not code
    assert "dpm-solver  (also dpm)" in out
    assert "variance=fixed-small  (fixed-small | fixed-large | learned-range)" in out
    assert "arXiv:2010.02502" in out
    assert "samplerbench 0.1.0" in out
    assert "fashion-mnist" in command("list", "models")[1]
    assert "inception-v3-compat" in command("list", "extractors")[1]
    assert "fashion-mnist-features" in command("list", "recipes")[1]
    code, _, err = command("list", "sampler")
    assert code == 2
    assert "did you mean 'samplers'" in err


def test_run_prints_a_table_and_where_the_files_are(command, small, tmp_path):
    code, out, err = command("run", "--samplers", "ddim,dpm:order=1:final=zero", *small)
    assert code == 0
    assert "dpm-solver:order=1:final=zero (logsnr)" in out
    assert "(1.00)" in out
    assert "20 samples" in out
    assert f"results: {tmp_path / 'out' / 'results.csv'}" in out
    assert "ddim nfe=2: FID" in err


def test_json_and_quiet(command, small, tmp_path):
    code, out, _ = command("run", "--samplers", "ddim", *small, "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["nfe"] for row in rows] == [2, 4]
    small[-1] = tmp_path / "other"
    assert command("run", "--samplers", "ddim", *small, "--quiet") == (0, "", "")


def test_a_failed_cell_exits_with_1(command, small, tmp_path):
    plugin = tmp_path / "bad.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Bad(Sampler):\n    name = 'bad'\n"
        "    def sample(self, eps, grid, x, noise):\n        raise ValueError('inner trouble')\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Bad)\n"
    )
    code, out, _ = command("run", "--samplers", "bad,ddim", *small, "--plugin", plugin)
    assert code == 1
    assert "failed: bad nfe=2, bad nfe=4: ValueError: inner trouble" in out
    assert f"tracebacks: {tmp_path / 'out' / 'errors'}" in out
    code, out, _ = command("list", "samplers", "--plugin", plugin)
    assert str(plugin) in out


@pytest.mark.parametrize("claim", ["None", "1 / 0", "exit(0)"])
def test_a_sampler_whose_claims_cannot_be_read_costs_its_own_line(command, tmp_path, claim):
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Odd(Sampler):\n    name = 'odd'\n"
        f"    def evaluations(self, steps):\n        return {claim}\n"
        "    def sample(self, eps, grid, x, noise):\n        return x\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Odd)\n"
    )
    code, out, err = command("list", "samplers", "--plugin", plugin)
    assert code == 1
    assert "order   its claims cannot be read: " in out
    assert "unipc" in out
    assert "Traceback" not in err


def test_compare(command, small, tmp_path):
    small[small.index("--samples") + 1] = 900
    command("run", "--samplers", "ddim,dpm", *small)
    code, out, _ = command("compare", tmp_path / "out", "--baseline", "ddim", "--csv", tmp_path / "table.csv")
    assert code == 0
    assert "ΔFID of" in out
    assert "paired" in out
    assert (tmp_path / "table.csv").read_text().startswith("sampler,nfe,base,")
    code, out, _ = command("compare", tmp_path / "out", tmp_path / "out", "--markdown", "--fail-on-regression")
    assert code == 0
    assert "| ddim (quadratic) | 2 |" in out
    worse = tmp_path / "worse.csv"
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    fid = lines[0].split(",").index("fid")
    rows = [line.split(",") for line in lines]
    for row in rows[1:]:
        row[fid] = str(float(row[fid]) + 50)
    worse.write_text("\n".join(",".join(row) for row in rows))
    code, out, _ = command("compare", tmp_path / "out", worse, "--fail-on-regression")
    assert code == 1
    assert "worse" in out
    for row in rows[1:]:
        row[lines[0].split(",").index("samples")] = "901"
    worse.write_text("\n".join(",".join(row) for row in rows))
    code, _, err = command("compare", tmp_path / "out", worse)
    assert code == 2
    assert "do not compare: samples: 900 against 901; --force" in err
    assert command("compare", tmp_path / "out", worse, "--force")[0] == 0
    assert command("compare", tmp_path / "out")[0] == 2


def test_info(command):
    code, out, _ = command("info")
    assert not code
    report = json.loads(out)
    assert report["packages"]["torch"]
    assert report["samplers"]["ddim"].startswith("samplerbench ")


class TestReference:
    def pictures(self, folder, n=6, size=(28, 28)):
        folder.mkdir()
        for i in range(n):
            Image.new("L", size, 30 * i).save(folder / f"{i}.png")
        return folder

    def test_of_a_folder_and_of_a_csv(self, command, tmp_path):
        folder = self.pictures(tmp_path / "real")
        listed = tmp_path / "list.csv"
        listed.write_text("path\n" + "".join(f"real/{i}.png\n" for i in range(6)))
        made = []
        for data in (folder, listed):
            out = tmp_path / f"{data.stem}.npz"
            code, text, _ = command("reference", "--data", data, "--extractor", "fashion-mnist-cnn", "--out", out)
            assert not code
            assert "6 images, 224 features of fashion-mnist-cnn" in text
            with np.load(out) as arrays:
                made.append(arrays["mu"])
        assert np.array_equal(*made)

    def test_of_a_dataset_it_is_used_by_run(self, command, small, tmp_path):
        images = np.random.default_rng(0).integers(0, 256, (40, 28, 28)).astype(np.uint8)
        np.savez(tmp_path / "data.npz", images=images)
        out = tmp_path / "ref.npz"
        command("reference", "--data", tmp_path / "data.npz", "--extractor", "fashion-mnist-cnn", "--out", out)
        code, text, _ = command("run", "--samplers", "ddim", *small, "--reference", out)
        assert code == 0
        assert "against 40 real images" in text

    def test_bad_data(self, command, tmp_path):
        def error(*arguments):
            code, _, err = command("reference", "--extractor", "fashion-mnist-cnn", *arguments)
            assert code == 2
            assert "Traceback" not in err
            return err

        out = ["--out", tmp_path / "ref.npz"]
        (tmp_path / "empty").mkdir()
        message = error("--data", "nofolder", *out)
        assert "--data nofolder: no folder, CSV or npz, and unknown dataset 'nofolder' (known: cifar10" in message
        assert "has no images" in error("--data", tmp_path / "empty", *out)
        mixed = self.pictures(tmp_path / "mixed", 2)
        Image.new("L", (30, 28)).save(mixed / "z.png")
        assert "z.png is 30×28, the images before it 28×28" in error("--data", mixed, *out)
        (mixed / "a.png").write_text("not an image")
        assert "a.png is not an image" in error("--data", mixed, *out)
        (tmp_path / "bad.csv").write_text("file\nx\n")
        assert "has no column 'path'" in error("--data", tmp_path / "bad.csv", *out)
        (tmp_path / "bad.csv").write_text("a,path\nx\n")
        assert "bad.csv: row 2 has no path" in error("--data", tmp_path / "bad.csv", *out)
        (tmp_path / "bad.csv").write_bytes(b"path\n\xff\xfe\n")
        assert "bad.csv is not a CSV: UnicodeDecodeError" in error("--data", tmp_path / "bad.csv", *out)
        np.savez(tmp_path / "none.npz", images=np.zeros((0, 28, 28), np.uint8))
        assert "there are no images" in error("--data", tmp_path / "none.npz", *out)
        np.savez(tmp_path / "odd.npz", images=np.zeros((5, 28, 28), np.uint8), labels=np.zeros(3))
        assert "labels is one number an image [5], got [3]" in error("--data", tmp_path / "odd.npz", *out)
        (tmp_path / "odd.npz").write_bytes((tmp_path / "none.npz").read_bytes()[:60])
        assert "is not an npz file of arrays" in error("--data", tmp_path / "odd.npz", *out)
        assert "--data-root goes with a torchvision dataset" in error("--data", mixed, "--data-root", tmp_path, *out)
        assert "no such file" in error("--data", tmp_path / "nowhere.csv", *out)
        assert "unknown dataset 'FashionMINST'; did you mean 'fashionmnist'" in error("--data", "FashionMINST", *out)
        assert "is the name of an npz file" in error("--data", mixed, "--out", tmp_path / "ref.txt")
        assert "takes images of 1×28×28, not of 1×32×32" in error(
            "--data", self.pictures(tmp_path / "large", 2, (32, 32)), *out
        )
        assert not (tmp_path / "ref.npz").exists()


def test_check_of_metrics_alone_says_what_it_tests(command, tmp_path):
    path = tmp_path / "metrics.py"
    path.write_text(
        "from samplerbench import Measured, Metric, hookimpl\n"
        "class One(Metric):\n    name = 'one'\n"
        "    def measure(self, drawn):\n        return Measured(1.0)\n"
        "@hookimpl\ndef samplerbench_metrics(register):\n    register(One)\n"
    )
    code, _, err = command("check", "--plugin", path)
    assert code == 2
    assert "metrics.py registers no sampler, and check tests no metrics; run takes them" in err


def test_check(command, tmp_path):
    code, out, _ = command("check", "ddim,dpm:order=3")
    assert code == 0
    assert "measured 1.00, declared 1" in out
    assert "dpm-solver:order=3" in out
    assert "All checks passed." in out
    plugin = tmp_path / "bad.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom samplerbench import Sampler, hookimpl\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Lazy(Sampler):\n    name = 'lazy'\n"
        "    def sample(self, eps, grid, x, noise):\n        return x\n"
        "@hookimpl\ndef samplerbench_samplers(register):\n    register(Lazy)\n"
    )
    code, out, _ = command("check", "--plugin", plugin)
    assert code == 1
    assert "took 0 evaluations, declared 1" in out
    assert "checks failed." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "name samplers to check, or a --plugin"),
        (["check", "dimd"], "did you mean 'ddim'"),
        (["run"], "Missing option '--samplers'"),
        (["run", "--samplers", "dimd"], "unknown sampler 'dimd'; did you mean 'ddim'"),
        (["run", "--samplers", "ddim", "--nfe", "ten"], "got 'ten'"),
        (["run", "--samplers", "ddim", "--nfe", "0"], "nfe is from 1 to 100000, got 0"),
        (["run", "--samplers", "ddim", "--samples", "many"], "'many' is not a valid integer"),
        (["run", "--samplers", "ddim", "--sampels", "5"], "No such option"),
        (["run", "--samplers", "ddim", "--nfe", "5", "--steps", "5"], "not --nfe and --steps"),
        (["rnu"], "No such command 'rnu'"),
        (["train", "fashion-mnits"], "unknown recipe 'fashion-mnits'; did you mean 'fashion-mnist'"),
        (["train", "nowhere.toml"], "no recipe file 'nowhere.toml'"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(command, arguments, message):
    code, out, err = command(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err + out


def test_a_broken_plugin_shows_its_traceback(command, small, tmp_path):
    plugin = tmp_path / "bad.py"
    plugin.write_text("raise ValueError('no licence')\n")
    code, _, err = command("run", "--samplers", "ddim", *small, "--plugin", plugin)
    assert code == 2
    assert "Traceback" in err
    assert err.rstrip().endswith(f"Error: --plugin {plugin}: ValueError: no licence")


def test_ctrl_c_exits_with_130_and_keeps_finished_rows(tiny_model, tmp_path):
    arguments = ["run", "--samplers", "ddim", "--nfe", "1,800", "--samples", "512", "--model", tiny_model]
    process = subprocess.Popen(
        [sys.executable, "-c", "from samplerbench.cli import main; main()", *arguments, "--out", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite run in the background ignores it
    )
    results = tmp_path / "out" / "results.csv"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (results.exists() and len(results.read_text().splitlines()) == 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "1 of 2 cells was not run.\nThe same command goes on with what is missing, if it names --out " in out
    assert "Traceback" not in err
    assert len(results.read_text().splitlines()) == 2


def test_a_run_in_which_nothing_can_be_run_says_why_and_fails(command, small):
    code, out, _ = command("run", "--samplers", "pndm", *small)
    assert code == 1
    assert "skipped: pndm nfe=2" in out
    assert "pndm needs at least 13 evaluations, got 2" in out

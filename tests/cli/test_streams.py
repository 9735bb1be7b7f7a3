"""Outputs that take nothing or not everything, arguments that are empty, and how a command ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import click
import pytest

from samplerbench import cli as command_line

RUN = [sys.executable, "-c", "from samplerbench.cli import main; main()"]


def call(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    return subprocess.run(
        [*RUN, *map(str, arguments)], stdout=stdout, stderr=stderr, env=os.environ | environment, check=False
    )


@pytest.fixture
def full():
    with open("/dev/full", "wb") as device:
        yield device


def test_a_full_output_is_one_line_and_not_a_success(full):
    done = call("list", "samplers", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Error: the output cannot be written: No space left on device"]


def test_a_run_whose_output_is_full_is_on_disk(full, tiny_model, tmp_path):
    arguments = ["run", "--samplers", "ddim", "--nfe", 2, "--samples", 4, "--model", tiny_model, "--device", "cpu"]
    done = call(*arguments, "--out", tmp_path / "out", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-2:] == [
        f"what was finished is in {tmp_path / 'out'}",
        "Error: the output cannot be written: No space left on device",
    ]
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 2


def test_a_run_whose_errors_cannot_be_written_goes_on(full, tiny_model, tmp_path):
    arguments = ["run", "--samplers", "ddim", "--nfe", 2, "--samples", 4, "--model", tiny_model, "--device", "cpu"]
    done = call(*arguments, "--out", tmp_path / "out", stderr=full)
    assert done.returncode == 0
    assert b"results.csv" in done.stdout


def test_a_reader_that_is_gone_ends_it_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*RUN, "list", "samplers"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_streams_are_no_errors():
    quoted = [f"'{part}'" for part in [*RUN, "list", "samplers"]]
    assert subprocess.run(["sh", "-c", " ".join([*quoted, ">&-", "2>&-"])], check=False).returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", [["list", "samplers"], ["list", "models"], ["list", "recipes"], ["--help"]])
def test_outputs_that_are_not_utf8(arguments, encoding):
    done = call(*arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr


def test_a_locale_without_utf8(tiny_model, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    arguments = ["run", "--samplers", "ddim", "--nfe", 2, "--samples", 900, "--model", tiny_model, "--device", "cpu"]
    done = call(*arguments, "--out", tmp_path / "out", **plain)
    assert done.returncode == 0, done.stderr
    assert b"results.csv" in done.stdout


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (EOFError("half a file"), 1, "EOFError: half a file"),
        (SystemExit(0), 1, "SystemExit: 0"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.Abort(), 130, "Interrupted."),
        (PermissionError(13, "Permission denied", "/some/file"), 2, "Error: /some/file: Permission denied"),
        (OSError(28, "No space left on device"), 1, "Error: the output cannot be written: No space left on device"),
        (OSError("a socket's own trouble"), 1, "OSError: a socket's own trouble"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
    ids=repr,
)
def test_how_a_command_ends(command, monkeypatch, raised, code, text):
    def fail():
        raise raised

    monkeypatch.setattr(command_line.info, "callback", fail)
    got, _, err = command("info")
    assert got == code
    assert text in err
    assert ("Traceback" in err) == (": " in text and not text.startswith("Error"))


EMPTY = [
    (["run", "--samplers", ""], "--samplers is empty"),
    (["run", "--samplers", "ddim", "--extractor", ""], "--extractor is empty"),
    (["run", "--samplers", "ddim", "--extractor="], "--extractor is empty"),
    (["run", "--samplers", "ddim", "--out", " "], "--out is empty"),
    *(
        (["run", "--samplers", "ddim", option, ""], f"{option} is empty")
        for option in ("--model", "--device", "--cache")
    ),
    *((["run", "--samplers", "ddim", option, ""], f"{option} is empty") for option in ("--nfe", "--steps", "--dtype")),
    *((["run", "--samplers", "ddim", option, ""], f"{option} is empty") for option in ("--reference", "--plugin")),
    (["check", ""], "an argument is empty"),
    (["check", "--plugin", ""], "--plugin is empty"),
    (["train", ""], "an argument is empty"),
    (["train", "fashion-mnist", "--out", ""], "--out is empty"),
    (["train", "fashion-mnist", "--data-root", ""], "--data-root is empty"),
    (["reference", "--data", "", "--extractor", "fashion-mnist-cnn", "--out", "a.npz"], "--data is empty"),
    (["list", ""], "an argument is empty"),
    (["compare", ""], "an argument is empty"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), EMPTY, ids=lambda case: " ".join(case) if isinstance(case, list) else ""
)
def test_empty_arguments(command, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err == f"Error: {message}; leave it out, or name one\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--samplers", "ddim"],
        ["train", "fashion-mnist"],
        ["reference", "--data", "FashionMNIST", "--extractor", "fashion-mnist-cnn", "--out", "a.npz"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_data_root_that_is_not_there(command, tmp_path, arguments):
    code, _, err = command(*arguments, "--data-root", tmp_path / "nosuch")
    assert code == 2
    assert "nosuch' does not exist" in err


@pytest.mark.parametrize("device", ["cpu:5", "cpu:0"])
def test_a_numbered_cpu(command, tiny_model, device):
    code, _, err = command("run", "--samplers", "ddim", "--model", tiny_model, "--device", device)
    assert code == 2
    assert f"--device {device}: the CPU has no number; use --device cpu" in err


def test_budgets_beyond_all_reason(command, tiny_model):
    for option in ("--nfe", "--steps"):
        code, _, err = command("run", "--samplers", "ddim", "--model", tiny_model, option, 10**20)
        assert code == 2
        assert f"{option[2:]} is from 1 to 100000, got 100000000000000000000" in err


ODD = """
from dataclasses import dataclass
from typing import Literal
from samplerbench import Sampler, hookimpl

@dataclass(frozen=True, kw_only=True)
class Odd(Sampler):
    name = "[/x][bold]odd[red]"
    paper = "[/nobody] :smile:"
    word: str = "[/y]"

    def sample(self, eps, grid, x, noise):
        if self.word == "[fail]":
            raise ValueError("[/z] :smile: é")
        for i in range(grid.steps):
            ratio = grid.alpha[i + 1] / grid.alpha[i]
            x = ratio * x + (grid.sigma[i + 1] - ratio * grid.sigma[i]) * eps(x, grid.times[i])
        return x

@hookimpl
def samplerbench_samplers(register):
    register(Odd)
"""


def test_markup_in_names_options_paths_and_messages_is_printed_as_it_is(command, tiny_model, tmp_path):
    plugin = tmp_path / "[" / "p].py"
    plugin.parent.mkdir()
    plugin.write_text(ODD)
    out_folder = tmp_path / "[/o] é"
    specs = "[/x][bold]odd[red],[/x][bold]odd[red]:word=[fail]"
    small = ["--model", tiny_model, "--samples", 4, "--nfe", 2, "--device", "cpu", "--plugin", plugin]
    code, out, err = command("run", "--samplers", specs, *small, "--out", out_folder)
    assert code == 1
    assert "[/x][bold]odd[red] (uniform)" in out
    assert "ValueError: [/z] :smile: é" in out
    assert f"results: {out_folder / 'results.csv'}" in out
    assert "[/x][bold]odd[red] nfe=2: FID" in err
    assert "[/x][bold]odd[red]:word=[fail] nfe=2: failed: ValueError: [/z] :smile: é" in err
    assert "[/x][bold]odd[red] (uniform)" in command("table", out_folder)[1]
    code, out, _ = command("list", "samplers", "--plugin", plugin)
    assert code == 0
    for text in ("[/x][bold]odd[red]\n", "[/nobody] :smile:", "word=[/y]", str(plugin)):
        assert text in out
    code, out, _ = command("check", specs, "--plugin", plugin)
    assert code == 1
    assert "[/x][bold]odd[red]:word=[fail]" in out
    assert "ValueError: [/z] :smile: é" in out


def test_progress_is_dropped_where_it_cannot_be_written(monkeypatch):
    from samplerbench.report.terminal.console import error_console

    class Broken(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Broken())
    error_console(quiet=False).print("lost")

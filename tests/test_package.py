"""What is installed is all that is there: packages and data files are listed by hand in pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def folder_of(package: str) -> Path:
    moved = {name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()}
    return moved.get(package, ROOT.joinpath(*package.split(".")))


def test_every_package_is_listed():
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "samplerbench").rglob("__init__.py")}
    assert there | {"samplerbench_plugins"} == set(SETUPTOOLS["packages"])


def test_every_data_file_is_listed():
    there = {file for top in ("samplerbench", "plugins") for file in (ROOT / top).rglob("*") if file.is_file()}
    data = {file for file in there if file.suffix != ".py" and "__pycache__" not in file.parts}
    listed = [
        file
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for file in folder_of(package).glob(pattern)
        if file.is_file()
    ]
    assert sorted(data) == sorted(listed)
    assert {"py.typed", "model.safetensors", "reference.npz", "ddim.csv"} <= {file.name for file in data}


def test_every_entry_point_is_a_module_that_is_installed():
    for module in PROJECT["project"]["entry-points"]["samplerbench"].values():
        package, _, name = module.rpartition(".")
        assert package in SETUPTOOLS["packages"]
        assert (folder_of(package) / f"{name}.py").is_file()

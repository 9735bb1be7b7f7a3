"""`samplerbench new`."""

from __future__ import annotations

import click

from .help import Command


@click.command(
    cls=Command,
    examples=["samplerbench new my-method", "samplerbench new my-method --package && pip install -e my-method"],
)
@click.argument("name")
@click.option("--package", is_flag=True, help="Write an installable project, with an entry point and a test.")
def new(name: str, package: bool) -> None:
    """Write a sampler of your own to start from: a plugin that runs and passes `check` as it stands.

    It is a multistep method in 45 lines. NAME is what it is called on the command line, like my-method.
    """
    from ..author.new import write_new
    from ..plugins import load_plugins

    plugin, *others = write_new(name, load_plugins(), package)
    for path in (plugin, *others):
        click.echo(f"wrote {path}")
    option, first = f" --plugin {plugin}", ""
    if package:
        option, first = "", f"  pip install -e '{name}[test]' && python -m pytest {name}\n"
    click.echo(
        f"next:\n{first}  samplerbench check {name}{option}\n"
        f"  samplerbench run{option} --samplers {name},ddim --baseline ddim --nfe 5,10 --samples 512 --watch"
    )

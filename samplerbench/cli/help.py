"""How help reads: options in groups, examples, summaries that are whole. click's own formatter, a little extended:
rich-click and cloup would each bring a dependency for these forty lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

__all__ = ["Command", "write_commands"]

WIDTH = 100  # characters of a line at most, where the terminal has them


class Command(click.Command):
    """A command whose options are told in groups, with examples below.

    groups: titles, each with the names of parameters; options of none come last. examples: whole command lines.
    """

    def __init__(
        self,
        *args: Any,
        groups: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.groups, self.examples = dict(groups or {}), examples
        self.context_settings = {"max_content_width": WIDTH} | dict(self.context_settings)
        known = {parameter.name for parameter in self.params}
        missing = {name for names in self.groups.values() for name in names} - known
        assert not missing, missing

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {p.name: record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))}
        grouped = {name for names in self.groups.values() for name in names}
        rest = [name for name in records if name not in grouped]
        title = "Other options" if self.groups else "Options"
        for heading, names in (*self.groups.items(), (title, rest)):
            rows = [records[name] for name in names if name in records]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)


def write_commands(group: click.Group, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The commands of a group, each with its whole summary."""
    rows = []
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is not None and not command.hidden:
            rows.append((name, command.get_short_help_str(limit=10_000)))
    with formatter.section("Commands"):
        formatter.write_dl(rows)

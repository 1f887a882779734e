"""The list of commands that `--help` shows.

typer's own needs `typer.rich_utils`, which imports Rich's Markdown and its tracebacks: a third of the answer's time.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class CommandOverview(TyperGroup):
    """The program's group: options, then a panel for each kind of command."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the overview; `formatter` of typer's signature is not needed.

        Args:
            ctx: typer's context of the program.
            formatter: unused.
        """
        from rich.console import Console
        from rich.padding import Padding
        from rich.panel import Panel
        from rich.table import Table

        options = [record for each in self.get_params(ctx) if (record := each.get_help_record(ctx))]
        panels = {"Options": options}
        for name, command in self.commands.items():
            if command.hidden:
                continue
            panels.setdefault(command.rich_help_panel, []).append((name, command.help or ""))  # type: ignore[attr-defined]
        console = Console(highlight=False)
        for line in (self.get_usage(ctx), self.help):
            console.print(Padding(line or "", (1, 1, 0, 1)), markup=False)
        console.print()
        width = max(map(len, self.commands))
        for title, rows in panels.items():
            table = Table.grid("name", "what", padding=(0, 2, 0, 0), expand=True)
            table.columns[0].style, table.columns[0].min_width = "bold cyan", width
            for name, text in rows:
                table.add_row(name, text)
            console.print(Panel(table, title=title, title_align="left", border_style="dim"))

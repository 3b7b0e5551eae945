"""The nouns in the singular and the plural."""

import click


class Nouns(click.Group):
    """Understands `offerings` as `offering`; help and completion name the singular."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            singular = super().get_command(ctx, cmd_name.removesuffix("s"))
            return singular if isinstance(singular, click.Group) else None
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Usage and errors name it as help does."""
        _, command, rest = super().resolve_command(ctx, args)
        return (command.name if command else None), command, rest

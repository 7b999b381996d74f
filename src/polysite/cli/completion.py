"""Completion for shells."""

import click

PLACES = {
    "bash": 'eval "$(polysite completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(polysite completion zsh)"   in ~/.zshrc',
    "fish": "polysite completion fish | source   in ~/.config/fish/config.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(PLACES)))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    bash: eval "$(polysite completion bash)" in ~/.bashrc; zsh alike in ~/.zshrc; fish: polysite completion fish | source
    """
    from click.shell_completion import get_completion_class

    from polysite.cli.commands import polysite

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    script = found(polysite, {}, "polysite", "_POLYSITE_COMPLETE")
    click.echo(script.source_template % script.source_vars())

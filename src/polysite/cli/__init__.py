"""The command line: argument in, table or JSON out. It speaks to a site through the public client alone."""


def main() -> None:
    """The command `polysite`."""
    from polysite.cli.commands import run

    run()

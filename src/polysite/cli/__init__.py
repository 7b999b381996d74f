"""The command line: argument in, table or JSON out. It speaks to a site through the public client alone."""

URL_DEFAULT = "http://127.0.0.1:8390"


def main() -> None:
    """The command `polysite`."""
    from polysite.cli.commands import run

    run()

"""Passwords of accounts."""

import sys

import click


@click.command("hash-password")
def hash_password() -> int:
    """Print what stands in the settings for a password.

    It is asked for, or read from standard input if that is no terminal.
    """
    from polysite.clock import Runtime
    from polysite.errors import BadRequest
    from polysite.server import passwords

    if sys.stdin.isatty():
        password = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise BadRequest("a password is not empty")
    click.echo(passwords.hash_password(password, Runtime().randomness))
    return 0

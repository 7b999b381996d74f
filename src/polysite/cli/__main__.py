"""`python -m polysite.cli` is the command `polysite`."""

from polysite.cli import main

main()

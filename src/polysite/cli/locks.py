"""Locks: run a command under one, list a queue, preempt a holder."""

import click
import msgspec

from polysite.api import QueueAnswer
from polysite.cli.output import print_note
from polysite.cli.rows import key_argument
from polysite.cli.session import NamedKey, Session, confirm, named_key, with_site, yes_option
from polysite.sync import Section


@click.group()
def lock() -> None:
    """Run a command under a lock; show and mend lock queues."""


@lock.command("hold")
@click.option("--lease-s", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
              help="How long the lock outlives this process.")  # fmt: skip
@click.option("--wait-s", type=click.FloatRange(min=0), help="How long to wait for the lock; default for ever.")
@click.option("--shared", is_flag=True, help="Together with other shared holders.")
@click.option("--validate", is_flag=True, help="Prove at the end that the lock was held throughout.")
@click.option("--owner", help="A name for the queue.")
@click.option("--grace-s", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="Between SIGTERM and SIGKILL when the lock is lost.")  # fmt: skip
@key_argument
@click.argument("command", metavar="-- COMMAND…", nargs=-1, required=True)
@with_site
def hold(
    session: Session,
    key: str,
    command: tuple[str, ...],
    lease_s: float,
    wait_s: float | None,
    shared: bool,
    validate: bool,
    owner: str | None,
    grace_s: float,
) -> int:
    """Run COMMAND while holding the lock on a key.

    COMMAND finds its fencing token in POLYSITE_FENCING_TOKEN; what it writes to should refuse lower ones. Signals are
    passed on. If the lock is lost, COMMAND's process group gets SIGTERM, then SIGKILL, and the exit code is 13; else it
    is that of COMMAND.
    """
    from polysite.cli.holding import Holding

    named = named_key(session, key)
    holding = Holding(list(command), grace_s=grace_s, as_json=session.as_json)
    section: Section = named.table.section(
        named.key,
        lease_s=lease_s,
        wait_s=wait_s,
        shared=shared,
        validate=validate,
        owner=owner,
        read=False,
        on_lost=lambda _: holding.end(),
    )
    return holding.run(section)


@lock.command("ls")
@key_argument
@with_site
def lock_ls(session: Session, key: str) -> None:
    """Show who holds the lock on a key, and who waits."""
    named = named_key(session, key)
    _show(session, named, named.table.queue(named.key))


@lock.command("preempt")
@key_argument
@click.option("--fencing-token", type=int, help="The entry to drop; default the holder.")
@yes_option
@with_site
def lock_preempt(session: Session, key: str, fencing_token: int | None, yes: bool) -> None:
    """Drop the holder of a key at once, without waiting for its lease. For administrators.

    What the holder still writes has no effect on later holders, but it may be told `done` of it meanwhile.
    """
    confirm(f"Preempt the holder of {key}?", yes=yes)
    named = named_key(session, key)
    answer = named.table.preempt(named.key, fencing_token=fencing_token)
    if not session.as_json:
        print_note(f"dropped: {', '.join(map(str, answer.dropped))}" if answer.dropped else "nobody held the lock")
    _show(session, named, answer)


def _show(session: Session, _named: NamedKey, answer: QueueAnswer) -> None:
    session.answer(
        msgspec.to_builtins(answer),
        columns=["fencing token", "state", "kind", "site", "process", "lease s", "owner"],
        rows=[
            [
                entry.fencing_token,
                "holds" if entry.held else "waits",
                entry.kind,
                entry.site,
                entry.process,
                entry.lease_ms / 1000,
                entry.owner,
            ]
            for entry in answer.entries
        ],
    )

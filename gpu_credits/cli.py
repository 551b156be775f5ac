"""Every command of the project; what each one does is in ``orchestration``.

Exit codes: 0 done; 1 tried, and not done; 2 what was asked for, a setting or a seed is wrong. What is
wrong is said in one way: on stderr, in the words of the ``PlainError`` that ended the command. Modules
are imported by the command that needs them: settings are judged before seconds go into imports.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestration.errors import PlainError
from orchestration.printable import printable_lines

app = typer.Typer(
    help="Bills GPU time in prepaid credits. Settings come from the environment (docs/settings.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
portal = typer.Typer(help="The customers' gauges on this machine's own address.")
app.add_typer(portal, name="portal")

Day = Annotated[date, typer.Argument(parser=date.fromisoformat, metavar="DAY")]
First = Annotated[date, typer.Argument(parser=date.fromisoformat, metavar="FROM")]
Last = Annotated[date, typer.Argument(parser=date.fromisoformat, metavar="TO")]
Reason = Annotated[str, typer.Option(help="Why, and who says so.")]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.")]


class Format(StrEnum):
    """How a comparison is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"


@contextmanager
def _told(outcome: str = "") -> Iterator[None]:
    """End the command with what a ``PlainError`` says, after what has come of it."""
    try:
        yield
    except PlainError as error:
        print(printable_lines(f"{outcome} {error.args[0]}".strip()), file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


def _in_order(first: date, last: date) -> None:
    if last < first:
        raise typer.BadParameter(f"TO={last} lies before FROM={first}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
) -> None:
    """Write seeds, feeds and settings to begin your own books with; overwrites nothing."""
    from gpu_credits.starter import CLOSES_ON, OPENS_ON, write_starter

    with _told("Nothing was written."):
        written = write_starter(folder)
    print(f"Wrote {len(written)} files into {folder.expanduser().absolute()}. Next:")
    print(f"  cd {shlex.quote(str(folder))}    # its .env is read by every command started there")
    print("  gpu-credits check    # judges seeds and feeds, bills nothing; then edit both")
    print(f"  gpu-credits bill {OPENS_ON} {CLOSES_ON}    # lands, bills and publishes into data/")


@app.command()
def check(
    first: Annotated[
        date | None,
        typer.Argument(parser=date.fromisoformat, metavar="[FROM", help="Else, the first there."),
    ] = None,
    last: Annotated[
        date | None,
        typer.Argument(parser=date.fromisoformat, metavar="TO]", help="Else, the last there."),
    ] = None,
) -> None:
    """Judge seeds and feeds, and say what would be billed; bills nothing, writes nothing into DATA_DIR.

    Exit code 0: nothing is wrong; 1: something in the feeds; 2: something in the seeds or settings.
    """
    from orchestration.settings import load_settings

    if first and last:
        _in_order(first, last)
    with _told():
        settings = load_settings()
        from orchestration.trial.readiness import judge_readiness

        raise typer.Exit(
            judge_readiness(
                settings, first, last, say=lambda part: print(printable_lines(part), flush=True)
            )
        )


@app.command()
def bill(first: First, last: Last) -> None:
    """Land, bill, check and publish the delivery days FROM to TO: what happens at night."""
    from orchestration.night.bill_days import bill_days

    _in_order(first, last)
    with _told("Nothing was billed."):
        raise typer.Exit(bill_days(first, last))


@app.command()
def explain(
    line: Annotated[str, typer.Argument(metavar="LINE", help="An invoice_line_id.")],
    events: Annotated[int | None, typer.Option(min=0, help="Events to print.")] = None,
    rows: Annotated[int | None, typer.Option(min=0, help="Rows to print, per step.")] = None,
) -> None:
    """Take an invoice line down to the delivered events; exit code 1 if a step does not add up."""
    from orchestration.explain.explanation import EVENTS_SHOWN, ROWS_SHOWN
    from orchestration.explain.explanation import explain as explained
    from orchestration.settings import load_settings

    with _told():
        explanation = explained(
            load_settings(),
            line,
            events=EVENTS_SHOWN if events is None else events,
            rows=ROWS_SHOWN if rows is None else rows,
        )
    try:
        print(explanation.text, flush=True)
    except BrokenPipeError:
        # Whoever reads the page (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0 if explanation.adds_up else 1)


@app.command()
def replay(
    scenarios: Annotated[list[str], typer.Argument(metavar="SCENARIO...")],
    first: Annotated[date, typer.Option("--from", parser=date.fromisoformat, metavar="DAY")],
    last: Annotated[date, typer.Option("--to", parser=date.fromisoformat, metavar="DAY")],
    form: Annotated[
        Format, typer.Option("--format", help="markdown: on stdout, for a pull request.")
    ] = Format.TEXT,
) -> None:
    """What past deliveries would have cost with the seeds of SCENARIO (folders), beside today's."""
    from orchestration.settings import load_settings
    from orchestration.trial.replay import replay as replayed

    _in_order(first, last)
    for_people = sys.stderr if form is Format.MARKDOWN else sys.stdout
    with _told("Nothing was replayed."):
        folder = replayed(
            load_settings(),
            scenarios,
            first,
            last,
            say=lambda sentence: print(sentence, file=for_people, flush=True),
        )
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"The page is {folder / 'index.html'}, tables lie beside it", file=for_people)


@app.command("import")
def import_(
    history: Annotated[str, typer.Argument(metavar="HISTORY", help="Folder or URL of feeds.")],
    first: First,
    last: Last,
) -> None:
    """Bill usage files that exist already into books of their own, and list what no seed knows."""
    from orchestration.night.summary import summarize
    from orchestration.settings import load_settings
    from orchestration.trial.history import import_history, unmapped

    _in_order(first, last)
    if "://" not in history:
        history = str(Path(history).expanduser().resolve())
    with _told("Nothing was imported."):
        books = import_history(load_settings(), history, first, last)
    print(summarize(books), "", *unmapped(books), "", sep="\n")
    print("To try another catalog on it")
    print(f"  DATA_DIR={books.data_dir} make replay SCENARIO=<folder> FROM={first} TO={last}")


@app.command()
def check_catalog(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Folder, or a Git reference.")],
    closed_through: Annotated[
        date | None,
        typer.Option(
            parser=date.fromisoformat,
            help="Last closed day, where the books are out of reach; else DATA_DIR's archive says.",
        ),
    ] = None,
) -> None:
    """Refuse an edit of SEEDS_DIR, since BASE, that reaches into closed cycles."""
    from orchestration.settings import load_settings
    from orchestration.trial.catalog_change import judge_edits

    with _told("Not checked."):
        judged = judge_edits(load_settings(), base, closed_through)
    print(judged.text, file=sys.stderr if judged.reaches_back else sys.stdout)
    raise typer.Exit(1 if judged.reaches_back else 0)


@app.command()
def settle(
    actions: Annotated[list[str], typer.Argument(metavar="ACTION...", help="action_ids.")],
    reason: Reason,
) -> None:
    """Say that a person saw to policy actions: they are not sent any more, nor listed."""
    from orchestration.outbox.actions import settle as settled
    from orchestration.settings import load_settings

    with _told():
        settled(load_settings(), actions, _said(reason))
    print(f"Settled: {', '.join(actions)}")


@app.command()
def forget(day: Day) -> None:
    """Take back a delivery day, landed by mistake and not billed; its files are moved aside."""
    from orchestration.books.forget import forget as forgotten
    from orchestration.settings import load_settings

    with _told():
        print(forgotten(load_settings(), day))


@app.command()
def accept_withdrawal(day: Day, reason: Reason) -> None:
    """Let a usage delivery lack the event ids that the check nothing_withdrawn names."""
    from orchestration.books.warehouse import writer_lock
    from orchestration.landing import withdrawals
    from orchestration.settings import load_settings

    with _told():
        settings = load_settings()
        with writer_lock(settings):
            accepted = withdrawals.accept(settings.landing_dir, day, _said(reason))
    print(
        f"Accepted: the usage delivery of {day} no longer has {accepted.ids:,} event ids of "
        f"{accepted.gpu_minutes:,f} GPU minutes. Land it and bill with: make bill FROM={day} TO={day}"
    )


def _said(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say what was done or why, and who says so")
    return reason


@app.command()
def ui() -> None:
    """Open the Dagster UI on http://127.0.0.1:3000."""
    from orchestration.settings import load_settings

    with _told("The UI was not started."):
        settings = load_settings()
    from orchestration.ui.server import serve

    raise typer.Exit(serve(settings))


@portal.command("serve")
def portal_serve(port: Port = 8000) -> None:
    """Serve the gauges on 127.0.0.1."""
    from orchestration.settings import load_settings

    with _told():
        settings = load_settings()
        from orchestration.pages.portal import serve

        serve(settings, port)


@portal.command("link")
def portal_link(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER")], port: Port = 8000
) -> None:
    """Print a link that opens one customer's gauge."""
    from orchestration.settings import load_settings

    with _told():
        settings = load_settings()
        from orchestration.pages.portal import link

        print(link(settings, customer, port))


@app.command()
def docs() -> None:
    """Write every table, column, test and reader on one page, published/docs/index.html in DATA_DIR."""
    from orchestration.books.documentation import document
    from orchestration.settings import load_settings

    with _told("No documentation was made."):
        print(f"Documentation: {document(load_settings())}")


@app.command()
def sample(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the feeds go.")],
    first: Annotated[
        date | None, typer.Option("--from", parser=date.fromisoformat, metavar="DAY")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=date.fromisoformat, metavar="DAY")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, other feeds.")] = 7,
) -> None:
    """Write feeds to try the job with: the same ones, byte for byte, for the same days and seed."""
    from orchestration.sample import CLOSES_ON, OPENS_ON, generate_sample

    with _told():
        print(generate_sample(target, first or OPENS_ON, last or CLOSES_ON, seed=seed))

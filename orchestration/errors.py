"""Errors that say all that a person needs: what is wrong, where, and what to do."""

from __future__ import annotations


class PlainError(Exception):
    """An error that is told in its own words, without a traceback, wherever it ends a command.

    Attributes:
        exit_code: of the command that it ends: 2 if what was asked for is wrong, 1 if it was tried
            and did not succeed.
    """

    exit_code = 2


class NotDone(PlainError):
    """What was asked for was right, but could not be done."""

    exit_code = 1

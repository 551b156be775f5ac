"""Text that came with a feed or a seed, made safe for a terminal or a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """A line in which everything that a terminal would obey, or not show, is spelled out.

    Control characters, line ends, marks that turn the direction of writing, characters without
    width, and halves of surrogate pairs become ``\\\\x1b``, ``\\\\u202e`` and so on.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """A text of our own, with what it quotes made printable; its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))

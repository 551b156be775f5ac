"""What somebody who means harm, or whose program is broken, may deliver: one corpus for all tests.

Texts that other programs take for something else (formulas, paths, SQL, markup, terminal commands),
texts that look like another, and JSON that is legal, nearly legal, or large.
"""

from __future__ import annotations

import json
import os


def examples(few: int) -> int:
    """How many examples a property is tried on: few in CI, HOSTILE_EXAMPLES times as many by hand."""
    return few * int(os.environ.get("HOSTILE_EXAMPLES", "1"))


TEXTS = {
    "formula": "=cmd|' /C calc'!A0",
    "plus": '+HYPERLINK("http://127.0.0.1/","x")',
    "minus": "-2+3",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "path": "../../../../etc/passwd",
    "dots": "..",
    "absolute": "/etc/passwd",
    "backslashes": "..\\..\\windows\\system32",
    "windows device": "CON",
    "single quote": "'; drop table invoices; --",
    "leading quote": "'swallowed",
    "double quote": '"; drop table invoices; --',
    "dollar quote": "$$; select 1; $$",
    "comment": "/* */ -- #",
    "hash": "#1",
    "braces": "{{ 7 * 7 }}{% raw %}",
    "markup": "<script>alert(1)</script>",
    "attribute": "\" onmouseover=\"alert(1)' x='",
    "entity": "&lt;b&gt;&amp;#x27;",
    "link": "javascript:alert(1)",
    "markdown": "![x](http://127.0.0.1/x) [y](javascript:alert(1))",
    "url": "//127.0.0.1/%2e%2e/x?y=z#w",
    "format": "%s%n{0}%(x)s$(id)`id`${HOME}",
    "glob": "*?[a-z]",
    "comma": "a,b;c\td|e",
    "newline": "a\nb",
    "tab": "a\tb",
    "escape": "\x1b]0;title\x07\x1b[2J\x1b[31m",
    "control": "\x01\x02\x7f\x9b31m",
    "backspace": "good\b\b\b\bevil",
    "right to left": "abc\u202efdp.exe",
    "zero width": "ac\u200bme\ufeff",
    "separator": "a\u2028b\u2029c",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "latin a": "acme",
    "cyrillic a": "\u0430cme",
    "full width": "\uff41\uff43\uff4d\uff45",
    "dotless i": "\u0131d",
    "upper": "ACME",
    "astral": "\U0001f4b3\U00010348",
    "noncharacter": "\ufffe\uffff",
    "percent": "a%00b%0a",
    "nan": "NaN",
    "boolean": "true",
    "number": "0123",
    "date": "2026-01-30",
    "long": "x" * 5000,
}
"""Texts without white space around them (which seeds do not keep), by what they try."""

NUMBERS = (
    "0",
    "-0",
    "-0.0",
    "0.0000005",
    "0.00000049999999999999999999",
    "2.0000005",
    "2.5e-6",
    "1e-7",
    "1e-400",
    "0.1",
    "0.30000000000000004",
    "123456789012.1234565",
    "999999999999.9999994",
    "999999999999.9999995",
    "999999999999",
    "1000000000000",
    "999999999.9999994",
    "999999999.9999995",
    "-999999999.9999995",
    "16666666.6666666",
    "16666666.6666667",
    "1e9",
    "1e12",
    "9007199254740993",
    "1e30",
    "1" + "0" * 30,
    "1e308",
    "1e309",
    "-1e308",
    "1e999999999",
    "1e99999999999999999999",
    "-1",
    "-0.0000004",
    "-0.0000005",
    "1" * 400,
    "0." + "1" * 400,
)
"""JSON numbers at the edges of exactness and of what is accepted."""

NOT_NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "01",
    "+1",
    ".5",
    "5.",
    "1_000",
    "0x10",
    "1e",
    "--1",
    "\u0661\u0662",
    "1,5",
)
"""What some JSON readers take for a number, and JSON does not."""

TIMES = (
    "2026-01-30T10:00:00Z",
    "2026-01-30t10:00:00z",
    "2026-01-30 10:00:00.123456789+05:30",
    "2026-01-31T23:59:59.999999999Z",
    "2026-01-31T23:59:60Z",
    "2026-01-31T24:00:00Z",
    "2026-01-30T10:00:00+14:00",
    "2026-01-30T10:00:00-14:00",
    "2026-01-30T10:00:00+23:59",
    "2026-01-30T10:00:00-23:59",
    "2026-01-30T10:00:00+24:00",
    "2026-01-30T10:00:00+99:99",
    "2026-01-30T10:00:00-00:00",
    "2026-02-01T13:59:59+14:00",
    "2026-01-31T10:00:00-14:00",
    "2024-12-27T00:00:00Z",
    "2024-12-26T23:59:59.999999Z",
    "2026-01-30T10:00:00",
    "2026-01-30",
    "20260130T100000Z",
    "2026-W05-5T10:00:00Z",
    "0000-01-01T00:00:00Z",
    "0000-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "10000-01-01T00:00:00Z",
    "-2026-01-30T10:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-01-30T10:00:00Z\x00",
    " 2026-01-30T10:00:00Z",
    "2026-01-30T10:00:00 UTC",
    "2026-01-30T10:00:00Europe/Paris",
    "\u0662\u0660\u0662\u0666-01-30T10:00:00Z",
    "infinity",
    "epoch",
    "now",
)
"""Instants, and texts that some reader takes for one."""

LARGE_JSON = {
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep arrays": "[" * 100_000 + "]" * 100_000,
    "65 levels": "[" * 65 + "]" * 65,
    "wide object": "{" + ",".join(f'"k{n}":{n}' for n in range(20_000)) + "}",
    "long array": "[" + ",".join(["0"] * 200_000) + "]",
    "1 MB string": json.dumps("x" * 1_000_000),
    "1 MB of escapes": '"' + "\\u0041" * 170_000 + '"',
    "many digits": "1" * 100_000,
    "many decimals": "0." + "3" * 100_000,
}
"""Values that cost much more to read than to write."""

BROKEN_BYTES = {
    "utf-16": b"\xff\xfe{\x00}\x00",
    "utf-16 with mark": "\ufeff{}".encode("utf-16-be"),
    "utf-32": "{}".encode("utf-32"),
    "latin-1": '{"event_id": "caf\u00e9"}'.encode("latin-1"),
    "cp1252": b'{"event_id": "\x93quoted\x94"}',
    "overlong": b'{"event_id": "\xc0\xaf"}',
    "surrogate": b'{"event_id": "\xed\xa0\x80"}',
    "beyond unicode": b'{"event_id": "\xf4\x90\x80\x80"}',
    "cut character": b'{"event_id": "\xe2\x82"}',
    "nul bytes": b"\x00\x00\x00",
    "mixed": '{"event_id": "caf\u00e9'.encode() + b'\xe9"}',
}
"""Lines in another encoding than UTF-8, or in none."""

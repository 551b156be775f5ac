"""Seeds: what people edit is checked against its contract and staged for dbt.

The contract (columns, types, keys, what may be empty) is ``dbt_project/models/_seeds.yml``. A seed
that breaks it stops the job before anything is built, with file, row and column.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestration.seeds.contracts import Row, SeedContract, seed_contracts, shown
from orchestration.seeds.coverage import BookDays, check_days
from orchestration.seeds.findings import Findings, SeedError
from orchestration.seeds.rules import check_rules, quoted
from orchestration.store.durable import put_text

__all__ = [
    "BookDays",
    "SeedContract",
    "SeedError",
    "check_seeds",
    "seed_contracts",
    "seed_file",
    "stage_seeds",
]

_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)")
# Python reads more as a number than anyone means: 1_000, other scripts' digits.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_INT_LIMIT = 2**31

MAX_FILE_BYTES = 64 << 20
MAX_CELL_CHARACTERS = 10_000
_UNKNOWN_NAMED = 5

_AS_CSV = "save it as CSV with commas, in UTF-8 (spreadsheets call that CSV UTF-8)"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# What a file begins with that was saved as something else.
_OTHER_FORMATS = {
    b"\xff\xfe": f"is UTF-16 text, which is not UTF-8; {_AS_CSV}",
    b"\xfe\xff": f"is UTF-16 text, which is not UTF-8; {_AS_CSV}",
    b"PK\x03\x04": f"is a spreadsheet or an archive; {_AS_CSV}",
    b"\xd0\xcf\x11\xe0": f"is an old spreadsheet; {_AS_CSV}",
    b"\x1f\x8b": "is compressed with gzip; unpack it",
    b"PAR1": f"is Parquet; {_AS_CSV}",
}


def check_seeds(seeds_dir: Path, books: BookDays | None = None) -> dict[str, list[Row]]:
    """Read every seed of ``seeds_dir`` and check all that it must satisfy.

    Args:
        seeds_dir: the folder with ``catalog/``, ``fleet/`` and ``contracts/`` in it.
        books: the days to be billed. Without them nothing is said about prices and versions that
            are missing on a day.

    Returns:
        The typed rows of each seed by its name; none for a seed that may be absent and is.

    Raises:
        SeedError: with a line for everything that is wrong in any file: file, row, column, value
            and what to do.
    """
    findings = Findings()
    tables = {contract.name: _read(contract, seeds_dir, findings) for contract in seed_contracts()}
    check_rules(tables, findings)
    if books:
        check_days(tables, books, findings)
    findings.raise_if_any()
    return tables


def stage_seeds(
    seeds_dir: Path, staged_dir: Path, books: BookDays | None = None
) -> dict[str, list[Row]]:
    """Check every seed of ``seeds_dir`` and copy it to ``staged_dir``, where dbt loads it.

    Values are written in one canonical form (dates ISO, instants UTC), so that every engine reads
    the same; a file that did not change is left alone, so that dbt need not parse it again.

    Returns:
        The typed rows of each seed, as ``check_seeds`` does.

    Raises:
        SeedError: see ``check_seeds``; then nothing is staged.
    """
    tables = check_seeds(seeds_dir, books)
    for contract in seed_contracts():
        _write(contract, tables[contract.name], staged_dir)
    return tables


def earlier_seeds(tables: Mapping[str, list[Row]], folder: Path) -> dict[str, list[Row]]:
    """The seeds that were written to a folder as ``canonical`` spells them, to compare with.

    A seed that is written alike is the very list of ``tables``. What an earlier release wrote
    otherwise counts as different: a column that it did not know is empty, a value that is none of
    its type any more is text.
    """
    earlier = {}
    for contract in seed_contracts():
        path = folder / contract.file
        text = path.read_bytes().decode() if path.exists() else ""
        rows = tables[contract.name]
        earlier[contract.name] = (
            rows if text == canonical(contract, rows) else _written(contract, text)
        )
    return earlier


def _written(contract: SeedContract, text: str) -> list[Row]:
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for record in reader:
        row: dict[str, Any] = {"row": reader.line_num}
        for column, kind in contract.types.items():
            raw = record.get(column) or None
            try:
                row[column] = raw and _written_value(kind, raw)
            except (ValueError, ArithmeticError):
                row[column] = raw
        rows.append(row)
    return rows


def _written_value(kind: str, raw: str) -> Any:
    # Instants are written in UTC, without the offset that people have to name.
    return datetime.fromisoformat(raw) if kind == "timestamp" else _value(kind, raw)


def seed_file(contract: SeedContract, seeds_dir: Path) -> Path:
    """Where a seed lies; whether or not it is there.

    Raises:
        SeedError: it is a link that leads out of the folder of the seeds. Whoever may edit seeds
            must not have the job read what it may. The folders may be links: they are the operator's.
    """
    path = seeds_dir / contract.file
    if path.is_symlink():
        # A link to itself cannot be resolved, and is no file either.
        try:
            lies_in = path.resolve()
        except (OSError, RuntimeError):
            return path
        if not any(lies_in.is_relative_to(f.resolve()) for f in (seeds_dir, path.parent)):
            raise SeedError(
                f"{contract.file}: is a link that leads out of its folder; put the file itself there"
            )
    return path


def _read(contract: SeedContract, seeds_dir: Path, findings: Findings) -> list[Row]:
    """The rows of a seed that can be read; what is wrong with them is added to ``findings``."""
    try:
        path = seed_file(contract, seeds_dir)
        size = path.stat().st_size
        if size > MAX_FILE_BYTES or not path.is_file():
            findings.of_file(contract, f"is no file of at most {MAX_FILE_BYTES >> 20} MB")
            return []
        content = path.read_bytes()
    except FileNotFoundError:
        if not contract.optional_file:
            findings.of_file(
                contract, "the file is missing; put it there, with its header at least"
            )
        return []
    except SeedError as error:
        findings.of_file(contract, str(error).removeprefix(f"{contract.file}: "))
        return []
    except OSError as error:
        findings.of_file(contract, f"cannot be read ({type(error).__name__})")
        return []
    for start, what in _OTHER_FORMATS.items():
        if content.startswith(start):
            findings.of_file(contract, what)
            return []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    # No column is named with a NUL, but every letter of UTF-16 seems to have one.
    if "\0" in text.partition("\n")[0]:
        findings.of_file(contract, f"is not UTF-8; {_AS_CSV}")
        return []
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    records = _records(text)
    try:
        _, header = next(records, (1, []))
        columns = _header(contract, header, findings)
        return list(_rows(contract, columns, records, findings)) if columns else []
    except _BadQuotes as error:
        findings.of_file(
            contract,
            f"row {error}: its quotes do not match, or a cell is far too long; put a cell with "
            'quotes in it between quotes, each of its own written ""',
        )
        return []


class _BadQuotes(ValueError):
    """A record that cannot be told from the next one; says in which line it begins."""


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV text, each with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise _BadQuotes(begins) from None
        yield reader.line_num, record


def _header(contract: SeedContract, header: list[str], findings: Findings) -> list[str]:
    """The columns of a file, in its order; none if they are not those of the contract."""
    columns = [name.strip() for name in header]
    # A spreadsheet writes the columns beside the table, too, without names or values.
    while columns and not columns[-1]:
        columns.pop()
    known = set(contract.types)
    for separator, name in _SEPARATORS.items():
        if len(columns) == 1 and known & {c.strip(' "') for c in columns[0].split(separator)}:
            findings.of_file(contract, f"row 1: its cells are separated by {name}; {_AS_CSV}")
            return []
    missing = [column for column in contract.types if column not in columns]
    unknown = [column for column in columns if column not in known]
    if len(missing) == len(known) and not {name.lower() for name in unknown} & known:
        what = "row 1: names none of its columns" if columns else "is empty"
        findings.of_file(contract, f"{what}; its first row must be {','.join(contract.types)}")
        return []
    for column in missing:
        spelled = next((name for name in unknown if name.lower() == column), None)
        said = f"is missing; it is written {quoted(spelled)} there" if spelled else "is missing"
        findings.of_file(contract, f"row 1: column {column} {said}; the first row must name it")
    strange = [name for name in unknown if name.lower() not in missing]
    for column in strange[:_UNKNOWN_NAMED]:
        findings.of_file(contract, f"row 1: column {quoted(column)} is unknown; remove it")
    more = len(strange) - _UNKNOWN_NAMED
    if more > 0:
        findings.of_file(contract, f"row 1: and {more:,} more columns are unknown")
    twice = sorted({name for name in columns if columns.count(name) > 1} & known)
    for column in twice:
        findings.of_file(contract, f"row 1: column {column} is named twice; remove one of them")
    return [] if missing or unknown or twice else columns


def _rows(
    contract: SeedContract,
    columns: list[str],
    records: Iterator[tuple[int, list[str]]],
    findings: Findings,
) -> Iterator[Row]:
    """The typed rows of a seed; what is wrong with them is added to ``findings``."""
    for number, cells in records:
        # A row of nothing says nothing: spreadsheets write such rows below the table.
        if not any(cell.strip() for cell in cells):
            continue
        beyond = cells[len(columns) :]
        if len(cells) < len(columns) or any(cell.strip() for cell in beyond):
            findings.of_file(
                contract,
                f"row {number}: has {len(cells)} cells for {len(columns)} columns; put a cell with "
                "a comma in it between quotes",
            )
            continue
        record = dict(zip(columns, cells, strict=False))
        row: Row = {"row": number}
        for column, kind in contract.types.items():
            row[column] = _cell(contract, number, column, kind, record[column].strip(), findings)
        filled = {column for column in columns if record[column].strip()}
        _check_row(contract, row, filled, findings)
        yield row


def _cell(
    contract: SeedContract, number: int, column: str, kind: str, raw: str, findings: Findings
) -> Any:
    """The value of a cell; None if it is empty, or is none."""
    problem = None
    value = None
    if raw:
        try:
            value = _value(kind, raw)
        except _NotText as error:
            problem = str(error)
        except (ValueError, ArithmeticError):
            problem = _expected(kind, raw)
    elif column in contract.required:
        findings.of_row(contract, number, f"column {column} is empty; enter a value")
    allowed = contract.values.get(column)
    if allowed and value is not None and value not in allowed:
        problem = f"is none of {', '.join(allowed)}"
        value = None
    if column in contract.capitals and value is not None and value != value.upper():
        problem = f"is not in capital letters; write {quoted(value.upper())}"
    if problem:
        findings.of_row(contract, number, f"column {column}: {quoted(raw)} {problem}")
    return value


def _check_row(contract: SeedContract, row: Row, filled: set[str], findings: Findings) -> None:
    """Check the values of a row against its bounds and against each other.

    Args:
        contract: of the seed.
        row: its values; None also where a cell has none that could be kept.
        filled: the columns whose cells are not empty.
        findings: what is wrong is added.
    """
    for column, why in contract.missing_from(row):
        if column not in filled:
            findings.of_row(
                contract, row["row"], f"column {column} is empty; {why} needs it: enter a value"
            )
    for column, bounds in contract.bounds_on(row):
        value = row[column]
        if value is None or all(bound.holds(value, row) for bound in bounds):
            continue
        asked = " and ".join(bound.said_of(row) for bound in bounds)
        as_share = ""
        if any(b.words in ("at most", "below") and b.limit == 1 for b in bounds) and value > 1:
            as_share = f" (a share: {shown(value)} per cent is {shown(Decimal(value) / 100)})"
        findings.of_row(
            contract, row["row"], f"column {column}: {shown(value)} must be {asked}{as_share}"
        )


class _NotText(ValueError):
    """Why a text cannot be kept."""


def _expected(kind: str, raw: str) -> str:
    """What is wrong with a cell that has not the type of its column, and how to write it."""
    if kind == "int":
        return "is not a whole number; write it in digits"
    if kind == "date":
        return "is not a date; write it YYYY-MM-DD"
    if kind == "boolean":
        return "is neither true nor false; write one of them"
    if kind == "timestamp":
        return "is not an instant; write it with its offset from UTC, as in 2026-02-04T10:00:00Z"
    digits, scale = map(int, _DECIMAL.fullmatch(kind).groups())  # type: ignore[union-attr]
    cure = "60% is written 0.60" if raw.endswith("%") else "write it in digits, as in 1234.5"
    return f"is not a number below 10^{digits - scale} with at most {scale} decimals; {cure}"


def _value(kind: str, raw: str) -> Any:
    if kind == "string":
        if raw.lower() == "null":
            raise _NotText("means an empty cell to some engines; write it another way")
        if len(raw) > MAX_CELL_CHARACTERS:
            raise _NotText(f"has {len(raw):,} characters, more than {MAX_CELL_CHARACTERS:,}")
        return raw
    if kind == "int":
        if not _WHOLE.fullmatch(raw) or not -_INT_LIMIT <= int(raw) < _INT_LIMIT:
            raise ValueError(raw)
        return int(raw)
    if kind == "date":
        return date.fromisoformat(raw)
    if kind == "boolean":
        if raw.lower() not in ("true", "false"):
            raise ValueError(raw)
        return raw.lower() == "true"
    if kind == "timestamp":
        moment = datetime.fromisoformat(raw)
        if moment.tzinfo is None:
            raise ValueError("an instant needs an offset")
        return moment.astimezone(UTC).replace(tzinfo=None)
    digits, scale = map(int, _DECIMAL.fullmatch(kind).groups())  # type: ignore[union-attr]
    if not _NUMBER.fullmatch(raw):
        raise ValueError(raw)
    number = Decimal(raw)
    if not number.is_finite() or number != round(number, scale):
        raise ValueError(f"more than {scale} decimals")
    if abs(number) >= Decimal(10) ** (digits - scale):
        raise ValueError("too large")
    return number


def _write(contract: SeedContract, rows: list[dict[str, Any]], staged_dir: Path) -> None:
    path = staged_dir / contract.file
    text = canonical(contract, rows)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    put_text(text, path)


def canonical(contract: SeedContract, rows: list[Row]) -> str:
    """The rows of a seed as CSV, always in the same spelling."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(contract.types)
    for row in rows:
        writer.writerow([_text(row[column]) for column in contract.types])
    return buffer.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)

"""Tells from its beginning what a file is that is not JSON lines, and what to do with it.

People have spreadsheets, exports and feeds. Sent line by line each would become a dead letter a
line, so who reads lines looks here first. A broken line among good ones is no other format.
"""

import csv
import re
from collections.abc import Iterator
from itertools import islice

import orjson

HEAD_BYTES = 1 << 16
FORCE = "--force takes it for JSON lines all the same"
_LINES = 10
# A file of fewer lines, none of them JSON, may be one bad record.
_LEAST_LINES = 3
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JQ = "`jq -c {filter} FILE` makes lines of it"

_BY_FIRST_BYTES = (
    (b"\x1f\x8b", "gzip data", "let its name end in .gz, or unpack it by `zcat`"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it by `zstd -dc`"),
    (b"BZh", "bzip2 data", "unpack it by `bzip2 -dc`"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save the table as CSV"),
    (b"PAR1", "a Parquet file", "save it as JSON lines: `to_json(orient='records', lines=True)`"),
    (b"Obj\x01", "an Avro file", "`avro cat FILE` makes lines of it"),
    (b"%PDF", "a PDF file", "take the texts out of it"),
    (b"SQLite format 3", "an SQLite database", "query it with `-json`, then `jq -c '.[]'`"),
)
_UTF_16 = "UTF-16 text", "`iconv -f UTF-16 -t UTF-8 FILE` makes UTF-8 of it"
_ARRAY = re.compile(rb'\s*\[\s*[\[{"\]]')
_MARKUP = re.compile(rb"\s*<[!?a-zA-Z]")
_TABLES = (("\t", "TSV", "tsv"), (",", "CSV", "csv"), (";", "CSV with semicolons", "csv --ifs ';'"))


def not_json_lines(head: bytes) -> str | None:
    """One sentence on what the file is and what to do, by its first bytes; None where it may be
    JSON lines. `head` may end anywhere."""
    found = _format(head[:HEAD_BYTES])
    if found is None:
        return None
    what, advice = found
    return f"this is {what}, not JSON lines: {advice}; {FORCE}"


def _format(head: bytes) -> tuple[str, str] | None:
    for start, what, advice in _BY_FIRST_BYTES:
        if head.startswith(start):
            return what, advice
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        return _UTF_16
    text = head.removeprefix(_BYTE_ORDER_MARK)
    if _ARRAY.match(text):
        return "a JSON array", _JQ.format(filter="'.[]'")
    if _MARKUP.match(text):
        return "XML or HTML", "make a JSON object a line of each of its items"
    lines = list(islice(_whole_lines(text), _LINES))
    if any(map(_is_json, lines)):
        return None
    if text.lstrip().startswith(b"{"):
        return _spread(lines) if b"\n" in text else None
    return _table(lines) or _plain(lines)


def _whole_lines(text: bytes) -> Iterator[bytes]:
    """Without the blank ones, and without the last, which may be cut."""
    *whole, last = text.split(b"\n")
    lines = whole if whole else [last]
    return (line.strip() for line in lines if line.strip())


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _spread(lines: list[bytes]) -> tuple[str, str] | None:
    """An object over several lines: the first is no more than its beginning."""
    begins = lines[0] == b"{" or (len(lines) > 1 and lines[0].endswith((b",", b"{", b"[")))
    return ("JSON over several lines", _JQ.format(filter=".")) if begins else None


def _table(lines: list[bytes]) -> tuple[str, str] | None:
    """Rows with as many fields as the first one, which names them."""
    if len(lines) < 2:
        return None
    rows = [line.decode(errors="replace") for line in lines]
    for separator, what, miller in _TABLES:
        names, *values = (len(row) for row in csv.reader(rows, delimiter=separator))
        if names > 1 and values and values[0] == names and "{" not in rows[0]:
            return what, f"`mlr --i{miller} --ojsonl cat FILE` makes lines of it"
    return None


def _plain(lines: list[bytes]) -> tuple[str, str] | None:
    if len(lines) < _LEAST_LINES:
        return None
    return "plain text", "`jq -cR '{text: .}' FILE` makes a JSON object of each line"

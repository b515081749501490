"""What files are that are not JSON lines."""

import gzip

import pytest

from schemas.file_formats import not_json_lines

RECORD = '{"id": "1", "headline": "Zürich rises", "symbols": ["A", "B"]}'


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (f"{RECORD}\n".encode("utf-16"), "UTF-16 text"),
        (f"{RECORD}\n".encode("utf-16-be"), "UTF-16 text"),
        (f"{RECORD}\n".encode("utf-32-le"), "UTF-16 text"),
        (gzip.compress(RECORD.encode(), mtime=0), "gzip data"),
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (f"[{RECORD}]".encode(), "a JSON array"),
        (f"[\n  {RECORD},\n  {RECORD}\n]".encode(), "a JSON array"),
        (f"\ufeff \n[{RECORD}".encode(), "a JSON array"),
        (b'{\n  "id": "1",\n  "headline": "x"\n}\n', "JSON over several lines"),
        (b'{"id": "1",\n "headline": "x"}\n', "JSON over several lines"),
        (b"id,headline,published_at\n1,Acme rises,2026-11-27\n", "CSV"),
        (b'id,headline\n1,"Acme, which rises"\n', "CSV"),
        (b"id;headline;source\r\n1;Acme rises;wire\r\n", "CSV with semicolons"),
        (b"id\theadline\n1\tAcme rises, again\n", "TSV"),
        (b'<?xml version="1.0"?>\n<rss>', "XML or HTML"),
        (b"<rss version='2.0'>", "XML or HTML"),
        (b"Acme rises\nZeta falls\nOil is steady\n", "plain text"),
    ],
)
def test_other_formats_are_told_with_what_to_do(head: bytes, said: str) -> None:
    sentence = not_json_lines(head)
    assert sentence is not None
    assert sentence.startswith(f"this is {said}, not JSON lines: ")
    assert sentence.endswith("--force takes it for JSON lines all the same")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n \n",
        RECORD.encode(),
        RECORD.encode()[:20],
        f"\ufeff{RECORD}\r\n{RECORD}".encode(),
        b"broken",
        b"broken\nagain\n",
        f"broken\nbroken, too\n{RECORD}\n".encode(),
        f"{RECORD}\n[1, 2]\n<b>\n".encode(),
        b'{"id": "1", "headline": "cut',
        b'{"id": "1",\n',
        b'{"id": "1", "headline": }\n{"id": "2", }\n{"no": json}\n',
        b"7\n8\n9\n",
        b'"text"\nnull\n{"a": 1}\n',
    ],
)
def test_json_lines_pass_even_where_some_are_broken(head: bytes) -> None:
    assert not_json_lines(head) is None


@pytest.mark.parametrize("size", [1, 2, 3, 10, 40])
def test_json_lines_pass_wherever_the_beginning_is_cut(size: int) -> None:
    assert not_json_lines(f"{RECORD}\n{RECORD}\n".encode()[:size]) is None

"""`classify --rules`: what would become an alert, before anybody sends it."""

import json
from pathlib import Path

import pytest

from tests.stream.test_cli import Bellwether, bellwether

__all__ = ["bellwether"]

RULES = """\
- {name: law, kind: message, when: {words: lawyer}, key: customer_id, severity: warning,
   reason: "A customer by {channel}"}
- {name: many, kind: message, key: channel, count: 3, window: 1m, severity: info,
   reason: "{count} within {window}"}
- {name: each, kind: news, key: symbol, severity: critical, reason: "On {symbol}: {headline}"}
- {name: wire, kind: news, when: {sources: wire}, key: event_id, severity: info, reason: "Wired"}
"""


def test_the_rules_that_would_match_are_printed(
    bellwether: Bellwether, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, file = tmp_path / "rules.yaml", tmp_path / "lines.jsonl"
    rules.write_text(RULES)
    lines = [
        {"channel": "chat", "customer_id": "c1", "text": "I will talk to my lawyer"},
        {"text": "Acme rises {count}", "symbols": ["ACME"], "source": "wire"},
        {"id": "b" * 999, "headline": "Acme rises", "source": "wire", "symbols": "no list"},
        {"text": "x" * 3_000},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.setenv("BELLWETHER_RULES", str(rules))
    said = bellwether("classify", str(file), "--rules")
    assert (said.code, said.err) == (0, "")
    message, news, broken, long = map(json.loads, said.out.splitlines())
    assert message["rules"] == [
        {"rule": "law", "severity": "warning", "key": "c1", "reason": "A customer by chat"},
        {
            "rule": "many", "severity": "info", "key": "chat", "reason": "3 within 1 minute",
            "count": 3, "window_seconds": 60,
        },
    ]  # fmt: skip
    assert [(rule["rule"], rule["reason"]) for rule in news["rules"]] == [
        ("each", "On ACME: Acme rises {count}"),
        ("wire", "Wired"),
    ]
    assert broken["rules"] == long["rules"] == []
    assert all(0 <= line["risk"] <= 1 for line in (message, news, broken, long))
    assert "rules" not in json.loads(bellwether("classify", str(file)).out.splitlines()[0])

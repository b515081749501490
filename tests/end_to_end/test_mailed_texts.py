"""Texts as mail programs and feeds send them: judged as a person would read them."""

from pathlib import Path

import pytest

from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import Worker, alert_entries, dead_letters, drained, publish, sources
from tests.servers import Servers

TOPICS = ("financial-news", "customer-messages")
STYLE = "<html><head><style>td {padding: 0 20px; color: #2b2b2b}</style></head><body>" * 40
MAILS = {
    "stolen": "My card was stolen an hour ago and somebody is using it",
    "exchange": "What exchange rate do you use for euros?",
    "thanks": "How do I change my PIN?",
}
LEGAL = "I will take le\u00adgal\u00a0action"
BANKRUPT = "Acme {count} files for bankruptcy after fraud probe, shares collapse"
CROWD = [f"S{number}" for number in range(130)]


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, kafka_partitions=1, **servers.settings)


async def test_texts_are_judged_as_they_are_read(settings: Settings, tmp_path: Path) -> None:
    records = [
        *(("customer-messages", encoded(message(name, text))) for name, text in MAILS.items()),
        *(
            ("customer-messages", encoded(message(f"{name}-mailed", f"{STYLE}<p>{text}</p>")))
            for name, text in MAILS.items()
        ),
        ("customer-messages", encoded(message("legal", LEGAL))),
        ("financial-news", encoded(news("crowd", BANKRUPT, symbols=CROWD, source="", url=""))),
    ]
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        await publish(settings, records)
        await drained(settings, TOPICS, 60)
        assert worker.terminate()[0] == 0

    assert await dead_letters(settings) == {}
    stored = await sources(settings, "customer-messages")
    for name, text in MAILS.items():
        plain, mailed = stored[name], stored[f"{name}-mailed"]
        assert {mailed[field]["label"] for field in ("intent", "emotion")} == {
            plain[field]["label"] for field in ("intent", "emotion")
        }
        assert (mailed["text"], mailed["flags"]) == (f"{STYLE}<p>{text}</p>", [])
    crowd = (await sources(settings, "financial-news"))["crowd"]
    assert (crowd["symbols"], crowd["flags"]) == (CROWD[:100], ["symbols_cut"])
    assert not {"source", "url"} & crowd.keys()

    alerts = await alert_entries(settings)
    by_event = {alert.event_id: alert for alert in alerts}
    assert len(alerts) == len(by_event)
    assert by_event["legal"].rule == "complaint-escalates"
    assert by_event["stolen-mailed"].rule == by_event["stolen"].rule == "fraud-or-loss"
    assert BANKRUPT in by_event["crowd"].reason

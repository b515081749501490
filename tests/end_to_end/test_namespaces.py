"""Workers in different namespaces share the servers and do not see each other."""

from pathlib import Path

from stream.settings import load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import (
    Worker,
    alert_entries,
    dead_letters,
    documents,
    drained,
    publish,
)
from tests.servers import Servers

TOPICS = ("financial-news", "customer-messages")


async def test_two_namespaces_do_not_mix(servers: Servers, namespace: str, tmp_path: Path) -> None:
    # The second name begins with the first, so that a careless pattern would mix them.
    names = (namespace, f"{namespace}-b")
    here, there = [
        load_settings(home=tmp_path, namespace=name, **servers.settings) for name in names
    ]
    text = "Someone stole my card and spent my money, block it now!"
    # Both start before their topics exist.
    with Worker(here, tmp_path / "here.log") as one, Worker(there, tmp_path / "there.log") as two:
        one.wait_ready()
        two.wait_ready()
        await publish(
            here,
            [
                ("financial-news", encoded(news("only-here", "Acme files for bankruptcy"))),
                ("customer-messages", encoded(message("stolen", text))),
                ("financial-news", b"broken"),
            ],
        )
        await publish(there, [("financial-news", encoded(news("only-there", "Acme rises")))])
        await drained(here, TOPICS, 60)
        await drained(there, TOPICS, 60)

    assert set(await documents(here, "financial-news")) == {"only-here"}
    assert set(await documents(there, "financial-news")) == {"only-there"}
    assert set(await documents(there, "customer-messages")) == set()
    assert len(await dead_letters(here)) == 1
    assert len(await dead_letters(there)) == 0
    assert {alert.event_id for alert in await alert_entries(here)} >= {"stolen"}
    assert await alert_entries(there) == []

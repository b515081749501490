"""What `doctor` asks Kafka: that our topics are there and fit, and how far the workers are."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, codec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest

from schemas.errors import BellwetherError
from schemas.sources import load_sources
from stream.backlog import backlog
from stream.bookmarks import Expired, is_of
from stream.brokers import broker_admin, topic_configs
from stream.clients import consumer_options
from stream.findings import Report
from stream.group_members import members_of, report_foreign
from stream.settings import Settings
from stream.topic_ids import look
from stream.topics import FEEDBACK, TopicPlan, plans
from stream.wording import counted

PRODUCE = 0
# Kafka does not tell its version, but each release raised the version of its produce request.
_RELEASES = {9: "2.8", 10: "3.7", 11: "3.8", 12: "4.0", 13: "4.1"}
MANY_RECORDS_BEHIND = 10_000
LEADERLESS = -1
CODECS = ("gzip", "snappy", "lz4", "zstd")

Topic = Mapping[str, Any]


async def check_kafka(settings: Settings, report: Report) -> None:
    """Report on brokers, topics and consumer lag; raises nothing for a Kafka that is away."""
    try:
        async with broker_admin(settings) as admin:
            brokers = (await admin.describe_cluster())["brokers"]
            await _check_version(admin, len(brokers), report)
            _check_codecs(report)
            there = {topic["topic"]: topic for topic in await admin.describe_topics()}
            wanted = plans(load_sources(settings.sources), settings)
            _check_presence(wanted, there, settings, report)
            present = [plan for plan in wanted if settings.topic(plan.name) in there]
            _check_replicas(present, there, len(brokers), settings, report)
            await _check_settings(admin, present, settings, report)
            await _check_group(admin, present, there, settings, report)
    except BellwetherError as error:
        what, _, advice = str(error).partition(". ")
        report.wrong(what, advice)


def _check_codecs(report: Report) -> None:
    lacking = [name for name in CODECS if not _decodes(name)]
    if lacking:
        report.wrong(
            f"records compressed with {', '.join(lacking)} cannot be read here",
            "install the packages of requirements/base.txt (`make install`)",
        )
    else:
        report.fine(f"compressed records can be read: {', '.join(CODECS)}")


def _decodes(name: str) -> bool:
    text = b"Shares of Acme rise. " * 100
    try:
        encoded = getattr(codec, f"{name}_encode")(text)
        return bool(getattr(codec, f"{name}_decode")(encoded) == text)
    except Exception:  # each library has errors of its own
        return False


async def _check_version(admin: AIOKafkaAdminClient, brokers: int, report: Report) -> None:
    client = admin._client
    answer = await client.send(client.get_random_node(), ApiVersionRequest())
    newest = {key: highest for key, _, highest in answer.api_versions}.get(PRODUCE, 0)
    known = [release for version, release in _RELEASES.items() if version <= newest]
    said = f"{counted(brokers, 'broker')}, "
    if known:
        report.fine(f"{said}version {known[-1]} or later, by its protocol")
    else:
        report.wrong(f"{said}older than Kafka 2.8 by its protocol", "upgrade it")


def _check_presence(
    wanted: Sequence[TopicPlan], there: Mapping[str, Topic], settings: Settings, report: Report
) -> None:
    names = [settings.topic(plan.name) for plan in wanted]
    missing = [name for name in names if name not in there]
    if missing:
        report.wrong(f"topics are missing: {', '.join(missing)}", "run `bellwether init`")
    else:
        report.fine(f"{len(names)} topics are there")


def _check_replicas(
    present: Sequence[TopicPlan],
    there: Mapping[str, Topic],
    brokers: int,
    settings: Settings,
    report: Report,
) -> None:
    for plan in present:
        name = settings.topic(plan.name)
        partitions = there[name]["partitions"]
        if any(partition["leader"] == LEADERLESS for partition in partitions):
            report.wrong(f"{name}: a partition has no leader", "start the broker that holds it")
        elif any(len(part["isr"]) < len(part["replicas"]) for part in partitions):
            report.warn(f"{name}: replicas are behind or away", "see which broker is down")
        elif brokers > 1 and any(len(part["replicas"]) == 1 for part in partitions):
            report.warn(
                f"{name}: one replica only, though there are {brokers} brokers",
                "give it more (`kafka-reassign-partitions.sh`); "
                "for new topics set BELLWETHER_KAFKA_REPLICATION",
            )


async def _check_settings(
    admin: AIOKafkaAdminClient, present: Sequence[TopicPlan], settings: Settings, report: Report
) -> None:
    configs = await topic_configs(admin, [settings.topic(plan.name) for plan in present])
    before = len(report.findings)
    for plan in present:
        name = settings.topic(plan.name)
        if name not in configs:
            report.warn(f"{name}: its settings may not be read", "permit DescribeConfigs on it")
            continue
        for setting, wanted in plan.config.items():
            _check_setting(name, setting, wanted, configs[name].get(setting, ""), report)
    if present and len(report.findings) == before:
        report.fine("the topics' time stamps, sizes, retention and compaction are as planned")


def _check_setting(topic: str, setting: str, wanted: str, found: str, report: Report) -> None:
    what = f"{topic}: {setting} is {found}, planned is {wanted}"
    advice = f"`kafka-configs.sh --alter --topic {topic} --add-config {setting}={wanted}`"
    match setting:
        case "cleanup.policy" if wanted not in found.split(","):
            report.wrong(f"{what}: labels would be deleted", advice)
        case "max.message.bytes" if int(found) < int(wanted):
            report.wrong(f"{what}: large records could not be written", advice)
        case "retention.ms" if 0 <= int(found) < int(wanted):
            report.warn(f"{what}: a long outage could lose records", advice)
        case "message.timestamp.type" if found != wanted:
            report.warn(f"{what}: the age of records is judged by their senders' clocks", advice)


async def _check_group(
    admin: AIOKafkaAdminClient,
    present: Sequence[TopicPlan],
    there: Mapping[str, Topic],
    settings: Settings,
    report: Report,
) -> None:
    sources = {FEEDBACK, *(source.topic for source in load_sources(settings.sources))}
    read = [settings.topic(plan.name) for plan in present if plan.name in sources]
    partitions = [
        TopicPartition(name, partition["partition"])
        for name in read
        for partition in there[name]["partitions"]
    ]
    try:
        members = await members_of(admin, settings.group)
        behind = await _lag(admin, partitions, settings, report)
    except KafkaError as error:
        report.warn(
            f"group {settings.group} cannot be asked: {error or type(error).__name__}",
            "try again in a moment, or permit Describe on the group",
        )
        return
    shared = [part for part in partitions if part.topic != settings.topic(FEEDBACK)]
    complete = len(read) == len(sources)
    report_foreign(members, settings.group, report)
    _report_group(members.workers, behind, len(shared) if complete else None, report)


async def _lag(
    admin: AIOKafkaAdminClient,
    partitions: Sequence[TopicPartition],
    settings: Settings,
    report: Report,
) -> int:
    """Records of these partitions that the group has not finished; all, where it never began."""
    if not partitions:
        return 0
    committed = await admin.list_consumer_group_offsets(settings.group)
    consumer = AIOKafkaConsumer(**consumer_options(settings))
    try:
        await consumer.start()
        first = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        seen = await look(admin._client, {part.topic for part in partitions})
        done = {
            part: committed[part].offset
            for part in partitions
            if part in committed
            and part.topic in seen
            and is_of(committed[part], seen[part.topic].id)
        }
        _report_expired(
            [Expired(part, at, first[part]) for part, at in done.items() if at < first[part]],
            report,
        )
        begin = {part: max(first[part], done.get(part, 0)) for part in partitions}
        return await backlog(consumer, begin, end, report)
    finally:
        await consumer.stop()


def _report_expired(expired: Sequence[Expired], report: Report) -> None:
    """What the workers find when they start, which is too late."""
    for topic in sorted({one.partition.topic for one in expired}):
        counts = {
            part.partition: one.count for one in expired if (part := one.partition).topic == topic
        }
        where = ", ".join(f"partition {part}: {count}" for part, count in sorted(counts.items()))
        report.warn(
            f"{topic}: {counted(sum(counts.values()), 'record')} expired before they were read "
            f"({where}), and are lost",
            "start workers before more do, and keep records longer (`retention.ms`)",
        )


def _report_group(members: int, behind: int, partitions: int | None, report: Report) -> None:
    """`partitions` are those that workers share; None while topics are missing."""
    workers, waiting = counted(members, "worker process"), f"{counted(behind, 'record')} behind"
    if not members:
        report.warn(
            f"no worker is running; {counted(behind, 'record')} waiting", "run `bellwether worker`"
        )
    elif partitions is not None and members > partitions:
        report.warn(
            f"{workers} for {counted(partitions, 'partition')}, {waiting}: some have none",
            "raise the partitions (`kafka-topics.sh --alter --partitions`) or run fewer workers",
        )
    elif behind > MANY_RECORDS_BEHIND:
        report.warn(f"{workers}, {waiting}", "if it keeps growing, run more workers")
    else:
        report.fine(f"{workers}, {waiting}")

"""What `doctor` asks Elasticsearch: that documents can be written, found, and have room to grow."""

from collections.abc import Mapping
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from schemas.mappings import PROPERTIES, index_templates
from stream.clients import make_elasticsearch
from stream.elastic_errors import explain
from stream.findings import Report
from stream.settings import Settings
from stream.wording import counted

ANSWER_SECONDS = 4.0
MAJOR_VERSION = 8
SHARDS_A_NODE = "cluster.max_shards_per_node"
DEFAULT_SHARDS_A_NODE = 1000
FEW_SHARDS_LEFT = 20
DISK_NEARLY_FULL = 0.85


async def check_elasticsearch(settings: Settings, report: Report) -> None:
    """Report on reachability, version, templates, blocks, health, shards and disk; raises nothing
    for an Elasticsearch that is away."""
    client = make_elasticsearch(settings)
    asking = client.options(request_timeout=ANSWER_SECONDS)
    try:
        health = (await asking.cluster.health()).body
        await _check_versions(asking, report)
        _check_health(health, report)
        await _check_templates(asking, settings, report)
        await _check_blocks(asking, settings, report)
        await _check_shards(asking, health, report)
        await _check_disks(asking, report)
    except (ApiError, TransportError) as error:
        report.wrong(
            f"{settings.elasticsearch}: {explain(error)}",
            "start it (`make up`) or correct BELLWETHER_ELASTICSEARCH and the settings beside it",
        )
    finally:
        await client.close()


async def _check_versions(client: AsyncElasticsearch, report: Report) -> None:
    """By the nodes: some distributions have no `GET /`."""
    nodes = (await client.nodes.info(filter_path="nodes.*.version")).body["nodes"]
    versions = sorted({node["version"] for node in nodes.values()})
    said = f"version {', '.join(versions)} answers with {counted(len(nodes), 'node')}"
    if all(version.partition(".")[0] == str(MAJOR_VERSION) for version in versions):
        report.fine(said)
    else:
        report.wrong(said, f"use Elasticsearch {MAJOR_VERSION}: our client speaks no other version")


def _check_health(health: Mapping[str, Any], report: Report) -> None:
    missing = health["unassigned_shards"]
    match health["status"]:
        case "green":
            report.fine("health is green")
        case "yellow":
            report.warn(
                f"health is yellow: {counted(missing, 'shard')} without a place",
                "add a node for the replicas, or set BELLWETHER_ELASTICSEARCH_REPLICAS=0",
            )
        case colour:
            report.wrong(
                f"health is {colour}: {counted(missing, 'shard')} without a place",
                "ask it why: GET _cluster/allocation/explain",
            )


async def _check_templates(client: AsyncElasticsearch, settings: Settings, report: Report) -> None:
    wanted = index_templates(settings.prefix, settings.elasticsearch_replicas)
    missing = [name for name in wanted if not await client.indices.exists_index_template(name=name)]
    if missing:
        report.wrong(f"index templates are missing: {', '.join(missing)}", "run `bellwether init`")
    else:
        report.fine(f"{counted(len(wanted), 'index template')} installed")


async def _check_blocks(client: AsyncElasticsearch, settings: Settings, report: Report) -> None:
    found = await client.cluster.state(
        metric="blocks", index=f"{settings.prefix}*", ignore_unavailable=True
    )
    blocks = found.body.get("blocks", {})
    if blocks.get("global"):
        report.wrong("the whole cluster is blocked", _unblock("_cluster"))
    ours = tuple(f"{settings.prefix}{base}-" for base in PROPERTIES)
    blocked = sorted(name for name in blocks.get("indices", {}) if name.startswith(ours))
    for name in blocked:
        for block in blocks["indices"][name].values():
            report.wrong(f"index {name} is blocked: {block['description']}", _unblock(name))
    if not blocks.get("global") and not blocked:
        report.fine("no index of ours is blocked")


def _unblock(target: str) -> str:
    return (
        f"see to its disk, then reset the block in {target}/_settings (index.blocks.*); "
        "workers wait meanwhile and lose nothing"
    )


async def _check_shards(
    client: AsyncElasticsearch, health: Mapping[str, Any], report: Report
) -> None:
    found = await client.cluster.get_settings(
        include_defaults=True,
        flat_settings=True,
        filter_path="*.cluster*shards_per_node",
    )
    a_node = DEFAULT_SHARDS_A_NODE
    for kind in ("defaults", "persistent", "transient"):
        a_node = int(found.body.get(kind, {}).get(SHARDS_A_NODE, a_node))
    most = a_node * health["number_of_data_nodes"]
    used = health["active_shards"] + health["unassigned_shards"]
    said = f"{used:,} of at most {most:,} shards are in use"
    if most - used >= FEW_SHARDS_LEFT:
        report.fine(said)
    else:
        report.warn(said, "delete old indices (`bellwether prune`) or add a node")


async def _check_disks(client: AsyncElasticsearch, report: Report) -> None:
    nodes = (await client.nodes.stats(metric="fs", filter_path="nodes.*.fs.total")).body["nodes"]
    for node in nodes.values():
        disk = node["fs"]["total"]
        used = 1 - disk["available_in_bytes"] / disk["total_in_bytes"]
        if used > DISK_NEARLY_FULL:
            report.warn(
                f"a disk is {used:.0%} full; at 95 % it takes no more documents",
                "free the disk, or delete old indices (`bellwether prune`)",
            )

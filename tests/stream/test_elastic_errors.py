"""What an error of Elasticsearch means, and what a person is told."""

from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    AuthorizationException,
    BadRequestError,
    ConnectionError,
    ConnectionTimeout,
    SSLError,
    TransportError,
    UnsupportedProductError,
)

from schemas.errors import ServerUnavailable
from stream.elastic_errors import Failure, expected_to_answer, explain, refuses_whole


def api_error(
    kind: type[ApiError], status: int, type_: str = "some_exception", reason: str = "why"
) -> ApiError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "es", 9200))
    return kind("message", meta, {"error": {"type": type_, "reason": reason}})


def item(status: int, type_: str, reason: str = "") -> Failure:
    failure = Failure.of_item({"status": status, "error": {"type": type_, "reason": reason}})
    assert failure is not None
    return failure


@pytest.mark.parametrize("status", [200, 201])
def test_what_was_stored_is_no_failure(status: int) -> None:
    assert Failure.of_item({"status": status}) is None


@pytest.mark.parametrize("answer", [{}, {"status": 0}, {"status": 301}, {"error": None}])
def test_an_answer_that_says_nothing_is_a_failure(answer: dict[str, Any]) -> None:
    failure = Failure.of_item(answer)
    assert failure
    assert not failure.blames_document


@pytest.mark.parametrize(
    "type_",
    [
        "document_parsing_exception",
        "mapper_parsing_exception",
        "strict_dynamic_mapping_exception",
        "illegal_argument_exception",
    ],
)
def test_the_four_document_errors_blame_the_document(type_: str) -> None:
    assert item(400, type_, "failed to parse").blames_document
    assert not item(500, type_, "failed to parse").blames_document


@pytest.mark.parametrize(
    ("status", "type_", "reason"),
    [
        (400, "validation_exception", "this action would add [1] shards"),
        (400, "index_closed_exception", "closed"),
        (400, "invalid_index_name_exception", ""),
        (400, "illegal_argument_exception", "pipeline with id [x] does not exist"),
        (400, "illegal_argument_exception", "no write index is defined for alias [x]"),
        (400, "illegal_argument_exception", "Number of documents in the index can't exceed [1]"),
        (403, "cluster_block_exception", "blocked"),
        (404, "index_not_found_exception", "no such index"),
        (409, "version_conflict_engine_exception", ""),
        (429, "es_rejected_execution_exception", ""),
        (503, "unavailable_shards_exception", ""),
        (418, "never_seen_before_exception", ""),
    ],
)
def test_everything_else_blames_no_document(status: int, type_: str, reason: str) -> None:
    assert not item(status, type_, reason).blames_document


def test_a_dead_letter_quotes_no_value() -> None:
    quoted = "failed to parse field [risk] of type [float] in document with id 'a'. Preview of "
    failure = item(400, "document_parsing_exception", f"[1:17] {quoted}field's value: 'my\nPIN'")
    assert failure.for_dead_letter() == (
        "Elasticsearch refuses the document: failed to parse field [risk] of type [float] in "
        "document with id 'a' (document_parsing_exception)"
    )


def test_a_dead_letter_is_short_and_keeps_the_end_of_the_sentence() -> None:
    told = item(400, "x", f"id [{'y' * 600}] is too long, must be no longer than 512 bytes")
    assert "yyy…] is too long, must be no longer than 512 bytes" in told.for_dead_letter()
    assert len(item(400, "x", "word " * 500).for_dead_letter()) < 400


def test_the_log_names_the_block_but_quotes_no_unknown_reason() -> None:
    assert item(403, "cluster_block_exception", "index [a] blocked").for_log() == (
        "HTTP 403 cluster_block_exception: index [a] blocked"
    )
    assert item(503, "unavailable_shards_exception", "request: {private}").for_log() == (
        "HTTP 503 unavailable_shards_exception"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionTimeout("t"), "does not answer in time"),
        (ConnectionError("c"), "cannot be reached"),
        (SSLError("c"), "BELLWETHER_ELASTICSEARCH_CA_FILE"),
        (api_error(AuthenticationException, 401), "does not accept our credentials"),
        (
            api_error(AuthorizationException, 403, "security_exception", "action is unauthorized"),
            "does not permit this: HTTP 403 security_exception: action is unauthorized",
        ),
        (api_error(UnsupportedProductError, 200), "not Elasticsearch"),
        (api_error(ApiError, 503), "HTTP 503 some_exception"),
    ],
)
def test_what_is_wrong_is_said_in_words(error: ApiError | TransportError, words: str) -> None:
    assert words in explain(error)


def test_only_400_and_413_refuse_what_is_in_the_request() -> None:
    assert refuses_whole(api_error(BadRequestError, 400))
    assert refuses_whole(api_error(ApiError, 413))
    assert not refuses_whole(api_error(ApiError, 429))
    assert not refuses_whole(ConnectionError("c"))


async def test_a_command_hears_which_server_is_away() -> None:
    client = AsyncElasticsearch("http://127.0.0.1:1", max_retries=0)
    words = r"http://127\.0\.0\.1:1: it cannot be reached"
    with pytest.raises(ServerUnavailable, match=words), expected_to_answer(client):
        await client.cluster.health()
    await client.close()

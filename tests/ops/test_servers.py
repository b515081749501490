"""The local servers, for real."""

import redis

from tests.servers import Servers


def test_a_killed_server_comes_back_on_its_port_with_its_data(servers: Servers) -> None:
    address = servers.redis.address
    with redis.Redis.from_url(address) as client:
        client.set("written-before", "the kill")
    servers.redis.kill()
    assert servers.redis.address == address
    with redis.Redis.from_url(address) as client:
        assert client.get("written-before") == b"the kill"

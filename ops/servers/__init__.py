"""Kafka, Elasticsearch and Redis on this machine, without a container engine.

``python -m ops.servers up|down|status`` keeps the three in a home folder; tests start their
own through the classes here. Only the standard library is needed, so this runs before anything
is installed.
"""

from ops.servers.elasticsearch import Elasticsearch
from ops.servers.errors import ServerError
from ops.servers.home import Home
from ops.servers.kafka import Kafka
from ops.servers.ports import free_port
from ops.servers.redis import Redis
from ops.servers.server import Server, Tls

__all__ = ["Elasticsearch", "Home", "Kafka", "Redis", "Server", "ServerError", "Tls", "free_port"]

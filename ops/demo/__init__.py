"""The demonstration: real servers, a worker, two invented hours of news and messages.

`make demo`, or `python -m ops.demo`. Whatever it shows of the service it reads from the servers:
documents from Elasticsearch, alerts from Redis, dead letters and progress from Kafka.
"""

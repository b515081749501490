"""The worker and the doctor against servers that ask for TLS, users and passwords."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.servers import Elasticsearch, Kafka, Redis

"""Jobs on a cluster, by Ray's job server: sent, found again by their destination, stopped.

What is sent is this program's own code and weights, as Ray's working directory: a few megabytes, no
photographs. The nodes need what the program needs (see ray_cluster.yaml).
"""

import asyncio
import hashlib
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jobs as jobs_package
import model as model_package
import pipeline as pipeline_package
from pipeline.errors import UsageError

PREFIX = "autochrome-"
MOST_WEIGHTS = 200 * 2**20  # bytes that are sent; larger weights belong in a bucket

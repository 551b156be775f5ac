"""A Spark cluster of the tests' own, on loopback: a master, two workers of a core, a Thrift server.

Started by class, from the wheel of pyspark: it has the servers' jars, but not their scripts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT

SPARK_HOME = PROJECT_ROOT / ".venv" / "spark" / "pyspark"
PATIENCE_SECONDS = 180
# Servers that live for minutes, and read more code than they repeat: compiled once and quickly, a
# collector without threads of its own. Half of the processor time went into these two.
_SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"
_NAMED = ("--host", "127.0.0.1", "--port", "0")


@dataclass(frozen=True)
class SparkCluster:
    """A running cluster."""

    port: int
    """Where its Thrift server listens, on 127.0.0.1."""
    warehouse: Path
    """Its ``spark.sql.warehouse.dir``."""


@contextmanager
def spark_cluster(folder: Path) -> Iterator[SparkCluster]:
    """A new cluster that keeps metastore, tables and logs in ``folder``; skips where none can be."""
    _skip_without_spark()
    with ExitStack() as stack:
        master = _start(
            stack,
            folder / "master",
            [*_java_class("master.Master"), *_NAMED, "--webui-port", "0"],
            r"Starting Spark master at (spark://\S+)",
        )
        for number in (1, 2):
            _start(
                stack,
                folder / f"worker{number}",
                [
                    *(*_java_class("worker.Worker"), *_NAMED, "--webui-port", "0"),
                    *("--cores", "1", "--memory", "2g", "-d", str(folder / f"worker{number}")),
                    master,
                ],
                r"Successfully (registered) with master",
            )
        yield stack.enter_context(thrift_server(folder / "thrift", master=master))


@contextmanager
def thrift_server(
    folder: Path, *, master: str = "local[1]", settings: dict[str, str] | None = None
) -> Iterator[SparkCluster]:
    """A Thrift server, set up by ``spark-defaults.conf``, with a metastore of its own.

    Args:
        folder: an empty folder.
        master: the cluster that works for it; it alone, in one process, if not said.
        settings: further settings of Spark.
    """
    _skip_without_spark()
    warehouse = folder / "warehouse"
    own = {
        "spark.sql.warehouse.dir": str(warehouse),
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
        ),
        "spark.executor.memory": "1536m",
        "spark.driver.extraJavaOptions": _SHORT_LIVED,
        "spark.executor.extraJavaOptions": _SHORT_LIVED,
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # Tables of some thousand rows: a task for each core, and no more.
        "spark.sql.shuffle.partitions": "2",
        # Halves the time that planning takes, which is most of it here.
        "spark.sql.constraintPropagation.enabled": "false",
        # Plans once: what it would find out about a thousand rows is not worth planning again.
        "spark.sql.adaptive.enabled": "false",
        **(settings or {}),
    }
    with ExitStack() as stack:
        port = _start(
            stack,
            folder,
            [
                str(SPARK_HOME / "bin" / "spark-submit"),
                *("--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"),
                *("--master", master, "--driver-memory", "1536m"),
                *("--properties-file", str(DBT_PROJECT_DIR / "spark-defaults.conf")),
                *(part for name, value in own.items() for part in ("--conf", f"{name}={value}")),
                "spark-internal",
                *("--hiveconf", "hive.server2.thrift.bind.host=127.0.0.1"),
                *("--hiveconf", "hive.server2.thrift.port=0"),
            ],
            r"Starting ThriftBinaryCLIService on port (\d+)",
        )
        yield SparkCluster(int(port), warehouse)


def _skip_without_spark() -> None:
    if not shutil.which("java"):
        pytest.skip("Spark needs Java, and none is here (Debian: openjdk-17-jre-headless)")
    if not SPARK_HOME.is_dir():
        pytest.skip("pyspark is not installed for the test cluster: make test-spark installs it")


def _java_class(name: str) -> list[str]:
    return [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}"]


def _start(stack: ExitStack, folder: Path, command: list[str], ready: str) -> str:
    """Start a server that ends with the stack; returns what it says when it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    environment = {
        **os.environ,
        "SPARK_DAEMON_JAVA_OPTS": _SHORT_LIVED,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(folder),
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
    stack.callback(_stop, server)
    given_up = time.monotonic() + PATIENCE_SECONDS
    while not (found := re.search(ready, log.read_text(encoding="utf-8", errors="replace"))):
        assert server.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        assert time.monotonic() < given_up, f"{folder.name} does not come up: see {log}"
        time.sleep(0.1)
    return found[1]


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

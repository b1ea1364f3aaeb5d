"""Kafka and Redis for the production mode, by scripts/services, on the core of the load."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from servers import LOAD_CORE, ROOT, fail

SCRIPT = str(ROOT / "scripts" / "services")
PARTS = ("kafka", "redis")


class Services:
    """Started when made, in a folder of their own; everything goes away at the end."""

    def __init__(self, folder):
        self.folder = folder
        self.stopped = set()
        output = self.script("start", "--dir", str(folder), *PARTS)
        exported = dict(re.findall(r"^export WAYPOST_TEST_(\w+)='?([^'\n]*)'?$", output, re.M))
        self.kafka, self.redis = exported["KAFKA"], exported["REDIS"]

    def script(self, *arguments):
        result = subprocess.run(["taskset", "-c", LOAD_CORE, SCRIPT, *arguments], capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=300)
        if result.returncode:
            fail(f"scripts/services {' '.join(arguments)}:\n{result.stderr}")
        return result.stdout

    def redis_port(self):
        return int(self.redis.rsplit(":", 1)[1])

    def ask_redis(self, command):
        with socket.create_connection(("127.0.0.1", self.redis_port()), timeout=30) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(100).decode().strip()

    def forget_visitors(self):
        """Each run begins with a Redis that has seen nobody."""
        if self.ask_redis("FLUSHALL SYNC") != "+OK":
            fail("Redis did not forget")

    def visitors(self):
        """How many visitors Redis has seen."""
        return int(self.ask_redis("DBSIZE").removeprefix(":"))

    def kafka_bytes(self, topic):
        """What the partitions of a topic take on the broker's disk, without their indexes."""
        return sum(segment.stat().st_size for segment in (Path(self.folder) / "kafka").glob(f"{topic}-*/*.log"))

    def signal(self, part, number):
        os.kill(int((Path(self.folder) / f"{part}.pid").read_text()), number)

    def stop(self, part):
        """It keeps its connections and answers nobody."""
        self.stopped.add(part)
        self.signal(part, signal.SIGSTOP)

    def start(self, part):
        """Brings back what was killed."""
        self.script("start", "--dir", str(self.folder), part)

    def go_on(self, part):
        self.stopped.discard(part)
        self.signal(part, signal.SIGCONT)

    def end(self):
        for part in list(self.stopped):
            self.go_on(part)
        self.script("stop", "--dir", str(self.folder), "--clean")


def until(true, seconds, what):
    """Polls until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)

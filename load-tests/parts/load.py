"""What servers are loaded with: the same mix of requests in every round, as fast as possible or at a steady rate."""

import json
import os
import random
import re
import statistics
import subprocess

from servers import HERE, LOAD_CORE, fail

REQUESTS = 4096


def median(rounds, key):
    return statistics.median(entry[key] for entry in rounds)


def write_requests(path, codes):
    """A fixed mix: the same in every round, on every machine."""
    chance = random.Random(1)
    agents = (HERE / "user-agents.txt").read_text().splitlines()
    requests = []
    for _ in range(REQUESTS):
        code = chance.choice(codes)
        query = chance.choice(["", "", "?sub1=newsletter", "?sub1=blog&sub2=top", "?utm_source=mail"])
        # First byte 100 to 126: public addresses but for few, and no loopback. All have as many digits, so that the
        # generators can put others in their place.
        address = f"1{chance.randint(0, 26):02}.1{chance.randint(0, 99):02}.1{chance.randint(0, 99):02}." \
                  f"1{chance.randint(0, 99):02}"
        requests.append(
            f"GET /r/{code}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {chance.choice(agents)}\r\n"
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
            "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
            f"Referer: https://blog.example/post\r\nX-Forwarded-For: {address}\r\n\r\n")
    path.write_bytes("".join(requests).encode())


class Load:
    """`strangers`: every request is of a visitor of its own. `shared`: the load's core has other work as well."""

    def __init__(self, folder, binaries, codes, connections, strangers=False, shared=False):
        self.requests, self.binaries, self.connections = folder / "requests.txt", binaries, connections
        self.visitor = 0 if strangers else None
        # Ahead of Kafka and Redis, which share its core, and asleep when nothing is due: else its own waiting for them
        # would be measured.
        self.steadily = ["--pause-us", "20"] if shared else []
        self.ahead = ["chrt", "--fifo", "1"] if shared and os.geteuid() == 0 else []
        write_requests(self.requests, codes)

    def strangers(self, requests):
        """The number of the first of so many new visitors, or nothing."""
        first = self.visitor
        if first is not None:
            self.visitor += requests
        return first

    def full(self, server, seconds):
        """As fast as it is answered: requests, us, errors, p50_us, p99_us."""
        environment = {"WAYPOST_REQUESTS": str(self.requests)}
        first = self.strangers(400_000 * seconds)
        if first is not None:
            environment["WAYPOST_VISITOR"] = str(first)
        command = ["taskset", "-c", LOAD_CORE, "wrk", "-t", "1", "-c", str(self.connections), "-d", f"{seconds}s",
                   "--latency", "-s", str(HERE / "click.lua"), f"http://{server.address}/"]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30,
                                env={**os.environ, **environment}).stdout
        found = re.search(r"^RESULT (.*)$", output, re.M)
        return json.loads(found.group(1)) if found else fail(f"wrk said nothing of use:\n{output}")

    def steady(self, server, rate, seconds):
        """At a fixed rate: requests, errors, p50_us, p99_us, p999_us."""
        first = self.strangers(rate * seconds)
        visitor = [] if first is None else ["--visitor", str(first)]
        command = ["taskset", "-c", LOAD_CORE, *self.ahead, str(self.binaries / "steady_load"),
                   "--address", server.address, "--rate", str(rate), "--seconds", str(seconds),
                   "--requests", str(self.requests), *visitor, *self.steadily]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
        return json.loads(output)

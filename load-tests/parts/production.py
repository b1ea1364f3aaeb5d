"""`waypost edge` with Kafka, Redis and GeoIP beside bare hyper and beside nginx doing part of the same work."""

import contextlib
import functools
import re
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from compare import ANY_PORT, Comparison
from load import Load, median
from servers import ROOT, SERVER_CORE, Nginx, Server, fail, progress
from services import Services, until

TITLES = {
    "bare": "bare hyper", "nginx-log": "nginx + log", "nginx-log-buffered": "nginx + log in blocks of 64 KB",
    "nginx-lua-redis": "nginx + Lua + Redis + log", "waypost": "waypost",
}
# Of waypost's requests per CPU-second, at least so many times the other's.
BUDGETS = {"bare": 0.5, "nginx-log": 1.0, "nginx-lua-redis": 3.0}
ASK_REDIS = ("nginx-lua-redis", "waypost")
BUFFERED = " buffer=64k flush=1s"
PHASES = ("all well", "Redis stopped", "Kafka stopped", "the spool drains")
DRAIN_SECONDS = 120
PUBLISH_SECONDS = 30
# Any will do: they protect nothing here.
SECRETS = {
    "WAYPOST__TOKEN__KEYS": f'[{{ id = 1, state = "active", secret = "{"1234abcd" * 8}" }}]',
    "WAYPOST__VISITOR__HASH_SECRET": "2345abcd" * 8,
    "WAYPOST__SECRETS__KEYS": f'["{"3456abcd" * 8}"]',
}


class Production(Comparison):
    contestants = tuple(TITLES)

    def __init__(self, args, binaries, folder):
        self.services = None
        self.phases = defaultdict(list)
        self.click_bytes = []
        super().__init__(args, binaries, folder)

    def make_load(self):
        return Load(self.folder, self.binaries, self.args.codes.split(","), self.args.connections, strangers=True,
                    shared=True)

    def secrets(self):
        return SECRETS

    def waypost_environment(self):
        return {**SECRETS, "WAYPOST__KAFKA__BROKERS": self.services.kafka, "WAYPOST__REDIS__URL": self.services.redis}

    def start(self, name, folder):
        self.services.forget_visitors()
        if name == "waypost":
            return self.start_waypost(folder, self.waypost_environment())
        if not name.startswith("nginx"):
            return super().start(name, folder)
        log = {"BUFFER": BUFFERED if name == "nginx-log-buffered" else "", "MODULES": nginx_modules(),
               "REDIS": self.services.redis_port()}
        return Nginx("lua.conf" if name == "nginx-lua-redis" else "log.conf", folder, log)

    def make_topics(self):
        command = [str(self.binaries / "waypost"), "topics", "create", "--replication", "1", "--min-insync", "1",
                   "--data-dir", str(self.template)]
        result = subprocess.run(command, env={**self.waypost_environment(), "PATH": "/usr/bin:/bin"},
                                capture_output=True, text=True, timeout=60)
        if result.returncode:
            fail(f"the topics could not be made:\n{result.stderr}")

    @contextlib.contextmanager
    def settlement(self, core=SERVER_CORE):
        """`waypost settle`, as soon as what edges must know is on Kafka."""
        place = self.folder / "0-settlement"
        place.mkdir()
        settle = Server([str(self.binaries / "waypost"), "settle", "--data-dir", str(self.template),
                         "--admin-listen", ANY_PORT], place, self.waypost_environment(), core)
        try:
            until(lambda: is_published(settle.metrics()), PUBLISH_SECONDS, "the catalog is published")
            yield settle
        finally:
            settle.stop()

    def publish(self):
        """The catalog is on Kafka from now on."""
        with self.settlement():
            pass

    def make_data(self, data):
        """An edge has no store: its catalog comes by Kafka."""

    def half_rates(self):
        """One rate for all but the slowest, which would make it no load for the others."""
        slowest = "nginx-lua-redis"
        rate = int(min(median(self.full[name], "rate") for name in self.contestants if name != slowest) / 2)
        return {**dict.fromkeys(self.contestants, rate), slowest: int(median(self.full[slowest], "rate") / 2)}

    def run(self):
        self.services = Services(self.folder / "services")
        try:
            self.make_topics()
            self.compare()
        finally:
            self.services.end()

    def compare(self):
        """All that is measured, while the services are up."""
        self.publish()
        super().run()
        for n in range(self.args.rounds):
            progress(f"Redis and Kafka away, round {n + 1} of {self.args.rounds}")
            self.run_away(self.rates["waypost"])

    def run_full(self, name):
        super().run_full(name)
        requests, visitors = self.full[name][-1]["requests"], self.services.visitors()
        if name in ASK_REDIS and visitors < requests:
            self.notes.append(f"{name} was asked by {requests} visitors, and Redis by {visitors}")

    def run_away(self, rate):
        """One process through all of it, at half load, without losing a click."""
        with self.server("waypost") as server:
            kept, size = stored(server), self.services.kafka_bytes("waypost.clicks.v1")
            self.load.full(server, 1)
            server.wait_idle(self.args.settle_wait)
            size = self.services.kafka_bytes("waypost.clicks.v1") - size
            self.click_bytes.append(size / (stored(server) - kept))
            before, asked = stored(server), 0
            for phase in PHASES:
                if phase == "Redis stopped":
                    self.services.stop("redis")
                elif phase == "Kafka stopped":
                    self.services.stop("kafka")
                elif phase == "the spool drains":
                    self.services.go_on("kafka")
                result = self.steady(server, f"waypost, {phase}", rate)
                asked += result["requests"]
                if phase == "Redis stopped":
                    self.services.go_on("redis")
                result["spooled"] = spooled(server)
                self.phases[phase].append(result)
            until(lambda: spooled(server) == 0, DRAIN_SECONDS, "the spool is empty")
            if not server.wait_idle(self.args.settle_wait):
                self.notes.append("waypost was still busy after Kafka was back")
            # More may be stored than were answered in time.
            kept = stored(server) - before
            if kept < asked:
                self.notes.append(f"{asked} clicks were answered, {kept:.0f} stored")
            self.notes += [f"waypost: {line}" for line in server.lost()]

    def report(self):
        own = statistics.median(entry["cpu"] + entry["after"] for entry in self.full["waypost"])
        lines = [
            f"{self.headline()} Kafka and Redis share the load's core, so throughput is that of two cores; CPU per "
            "request is the server's alone.",
            "",
            "| | requests/s | p50, µs | p99, µs | CPU per request, µs | all rounds | CPU: this / waypost | budget |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, title in TITLES.items():
            rounds = self.full[name]
            cpu = [entry["cpu"] + entry["after"] for entry in rounds]
            budget = f"at least {BUDGETS[name]:.2f}" if name in BUDGETS else ""
            lines.append(
                f"| full load: {title} | {median(rounds, 'rate'):,.0f} | {median(rounds, 'p50'):,.0f} | "
                f"{median(rounds, 'p99'):,.0f} | {statistics.median(cpu):.2f} | {min(cpu):.2f} to {max(cpu):.2f} | "
                f"**{statistics.median(cpu) / own:.2f}** | {budget} |")
        waypost = median(self.half["waypost"], "cpu")
        for name, title in TITLES.items():
            rounds = self.half[name]
            cpu = [entry["cpu"] for entry in rounds]
            lines.append(
                f"| steady {self.rates[name]:,}/s: {title} | | {median(rounds, 'p50'):,.0f} | "
                f"{median(rounds, 'p99'):,.0f} | {median(rounds, 'cpu'):.2f} | {min(cpu):.2f} to {max(cpu):.2f} | "
                f"{median(rounds, 'cpu') / waypost:.2f} | |")
        lines += [
            "",
            f"| waypost, steady {self.rates['waypost']:,}/s | p50, µs | p99, µs | p99, all rounds | p99.9, µs | "
            "CPU per request, µs | clicks in the spool at its end |",
            "|---|---|---|---|---|---|---|",
        ]
        for phase in PHASES:
            rounds = self.phases[phase]
            p99 = [entry["p99"] for entry in rounds]
            lines.append(
                f"| {phase} | {median(rounds, 'p50'):,.0f} | {median(rounds, 'p99'):,.0f} | {min(p99):,.0f} to "
                f"{max(p99):,.0f} | {median(rounds, 'p999'):,.0f} | {median(rounds, 'cpu'):.2f} | "
                f"{median(rounds, 'spooled'):,.0f} |")
        size = f"A click takes {statistics.median(self.click_bytes):.0f} bytes in Kafka, at full load."
        print("\n".join([*lines, "", self.idle(), "", size, "", self.by_thread(), *self.all_notes()]))


@functools.cache
def nginx_modules():
    """The folder with those that are not built in."""
    result = subprocess.run(["nginx", "-V"], capture_output=True, text=True, timeout=10)
    return re.search(r"--modules-path=(\S+)", result.stdout + result.stderr).group(1)


def is_published(metrics):
    return (metrics["waypost_catalog_published_version"] > 0
            and metrics["waypost_catalog_outbox_unpublished_records"] == 0)


def stored(server):
    return server.metrics()["waypost_edge_clicks_stored_total"]


def spooled(server):
    return server.metrics()['waypost_spool_events{topic="clicks"}']


def find_geoip():
    """A database that scripts/geoip has fetched."""
    with contextlib.suppress(StopIteration):
        return str(next(Path(ROOT / ".waypost" / "geoip").glob("*country*.mmdb")))
    return None

"""The only broker is killed in the middle of a steady load and started again: what the metrics say, and what is lost."""

import http.client
import json
import signal
import subprocess
import threading
import time

from production import Production, stored
from servers import LOAD_CORE, fail, progress
from services import until

SALES_PER_SECOND = 20
CATCH_UP_SECONDS = 120
# Columns, by process: a title and the series that are added up.
EDGE = {
    "clicks acknowledged": ['waypost_kafka_produced_total{topic="clicks",outcome="acknowledged"}'],
    "clicks spooled": ['waypost_kafka_produced_total{topic="clicks",outcome="spooled"}'],
    "clicks lost": ["waypost_edge_clicks_lost_total"],
    "sales acknowledged": ['waypost_kafka_produced_total{topic="conversions",outcome="acknowledged"}'],
    "sales spooled": ['waypost_kafka_produced_total{topic="conversions",outcome="spooled"}'],
    "up (clicks, sales)": ['waypost_kafka_producer_up{topic="clicks"}', 'waypost_kafka_producer_up{topic="conversions"}'],
    "in the spool": ['waypost_spool_events{topic="clicks"}', 'waypost_spool_events{topic="conversions"}'],
}
SETTLEMENT = {
    "brokers up": ['waypost_settlement_brokers_up{topic="clicks"}', 'waypost_settlement_brokers_up{topic="conversions"}'],
    "lag, events": ['waypost_settlement_lag_events{topic="clicks"}', 'waypost_settlement_lag_events{topic="conversions"}'],
    "clicks settled": ['waypost_settled_events_total{topic="clicks",outcome="stored"}'],
    "sales settled": ['waypost_settled_events_total{topic="conversions",outcome="settled"}'],
}


class Restart(Production):
    contestants = ("waypost",)

    def __init__(self, args, binaries, folder):
        super().__init__(args, binaries, folder)
        self.rows, self.begun = [], 0.0
        self.sent, self.statuses = 0, {}

    def compare(self):
        with self.settlement(LOAD_CORE) as settle, self.server("waypost") as edge:
            self.watch(edge, settle)
            self.catch_up(edge, settle)
        self.agree()

    def watch(self, edge, settle):
        """A second of load for each row; the broker is away for the second fifth of the time."""
        fifth = self.args.seconds
        loads = [threading.Thread(target=load, args=(edge, 5 * fifth)) for load in (self.clicks, self.sales)]
        self.begun = time.monotonic()
        for load in loads:
            load.start()
        down = False
        while any(load.is_alive() for load in loads):
            second = time.monotonic() - self.begun
            if not down and second >= fifth:
                down = True
                self.services.signal("kafka", signal.SIGKILL)
                self.say("broker killed")
                threading.Timer(fifth, self.bring_back).start()
            self.sample(edge, settle)
            time.sleep(max(0.0, 1 - (time.monotonic() - self.begun - second)))

    def bring_back(self):
        self.services.start("kafka")
        self.say("broker started again")

    def clicks(self, edge, seconds):
        result = self.load.steady(edge, self.args.rate, seconds)
        self.statuses["clicks answered"] = result["requests"]
        self.statuses["clicks not answered"] = result["errors"]
        self.statuses["p99 of all, µs"] = result["p99_us"]

    def sales(self, edge, seconds):
        """Reports of a merchant's server, each of another order."""
        connection = http.client.HTTPConnection(edge.address, timeout=10)
        headers = {"Authorization": f"Bearer {self.secret_key}",
                   "Content-Type": "application/json"}
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            body = {"program": "demo-shop", "external_id": f"order-{self.sent}", "amount": "10.00",
                    "referral_code": "jane"}
            self.sent += 1
            connection.request("POST", "/v1/events/purchase", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            kind = f"sales answered {answer.status}, {answer.headers.get('Waypost-Durability', 'not kept')}"
            self.statuses[kind] = self.statuses.get(kind, 0) + 1
            time.sleep(max(0.0, begun + self.sent / SALES_PER_SECOND - time.monotonic()))
        connection.close()

    def say(self, event):
        self.rows.append((time.monotonic() - self.begun, event, None))

    def sample(self, edge, settle):
        values = added(edge.metrics(), EDGE) + added(settle.metrics(), SETTLEMENT)
        self.rows.append((time.monotonic() - self.begun, None, values))

    def catch_up(self, edge, settle):
        """Until the spool is empty and settlement has read everything."""
        progress("until everything is settled")

        def is_settled():
            numbers = settle.metrics()
            counts = added(numbers, {key: SETTLEMENT[key] for key in ("clicks settled", "sales settled")})
            return added(edge.metrics(), {"": EDGE["in the spool"]}) == [0] and counts[1] >= self.sent \
                and counts[0] >= max(self.statuses["clicks answered"], stored(edge))

        until(is_settled, CATCH_UP_SECONDS, "everything is settled")
        self.sample(edge, settle)

    def agree(self):
        for command in (["reconcile"], ["ledger", "verify"]):
            result = subprocess.run([str(self.binaries / "waypost"), *command, "--data-dir", str(self.template)],
                                    env={**self.waypost_environment(), "PATH": "/usr/bin:/bin"}, capture_output=True,
                                    text=True, timeout=120)
            last = (result.stdout.strip().splitlines() or ["(nothing)"])[-1]
            self.notes.append(f"waypost {' '.join(command)}: exit {result.returncode}: {last}")
            if result.returncode or command == ["reconcile"] and ", 0 numbers missing" not in last:
                fail(f"waypost {' '.join(command)}:\n{result.stdout}{result.stderr}")

    def report(self):
        titles = [*EDGE, *SETTLEMENT]
        lines = [self.headline(), "", "| s | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
        for second, event, values in sorted(self.rows, key=lambda row: row[0]):
            cells = [f"{value:,.0f}" for value in values] if values else [f"**{event}**"] + [""] * (len(titles) - 1)
            lines.append(f"| {second:.1f} | " + " | ".join(cells) + " |")
        answers = [f"- {what}: {count:,}" for what, count in sorted(self.statuses.items())]
        print("\n".join([*lines, "", *answers, *self.all_notes()]))

    def headline(self):
        return (f"{self.machine()}; {self.args.rate:,} clicks and {SALES_PER_SECOND} sales a second, edge on core 0, all "
                f"else on core {LOAD_CORE}, profile {self.args.profile}. Counters since the start of the processes.")


def added(metrics, columns):
    return [sum(metrics.get(series, 0.0) for series in columns[title]) for title in columns]

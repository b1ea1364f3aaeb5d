"""Every query of k8s/dashboards and k8s/alerts against a real Prometheus: `dashboards.py BINARY`, for scripts/dashboards.

The services are those of WAYPOST_TEST_KAFKA, WAYPOST_TEST_REDIS and WAYPOST_TEST_POSTGRES.
"""

import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import yaml

import alerts
from deployment import SOON, Deployment, ask, eventually

ROOT = Path(__file__).parents[2]

# Seconds between two scrapes, and how many there are before anything is asked.
INTERVAL, SCRAPES = 1, 20

# What Grafana puts into the place of its variables.
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m", "$namespace": ".*", "$instance": ".*"}

# Panels that show nothing in a deployment that is well, and why.
EMPTY = {
    "Age of the GeoIP databases": "none is configured here",
    "Spool: from append to durable": "Kafka takes everything here",
}

NAME = re.compile(r"\b(?:waypost[a-z0-9_:]*|process_[a-z_]+|up)\b")
SELECTOR = re.compile(r"\b((?:waypost[a-z0-9_:]*|process_[a-z_]+|up)\{[^}]*\})")
# Label names are not metrics.
LABELS = re.compile(r"\b(?:by|on|without|ignoring) \([^)]*\)")


def panels():
    """Title and expression of every query on a dashboard."""
    for path in sorted((ROOT / "k8s/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]


def concrete(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def selectors(expression):
    """The series that an expression names: with its labels where it gives some."""
    bare = LABELS.sub("", expression)
    found = set(SELECTOR.findall(bare))
    return found | set(NAME.findall(SELECTOR.sub("", bare)))


class Prometheus(contextlib.ExitStack):
    """A Prometheus that scrapes a deployment and evaluates the rules."""

    def __init__(self, targets):
        super().__init__()
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="waypost-prometheus-")))
        rules = alerts.spec()
        for group in rules["groups"]:
            group["interval"] = f"{INTERVAL}s"
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        # As service-monitor.yaml labels them.
        scraped = [
            {"targets": [target], "labels": {"component": role, "instance": f"waypost-{role}-0"}}
            for role, target in targets.items()
        ]
        config = {
            "global": {"scrape_interval": f"{INTERVAL}s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "waypost", "static_configs": scraped}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        log = folder / "log"
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yaml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stderr=log.open("w"),
        )
        self.callback(Deployment.stop, self.process)

        def answers():
            if self.process.poll() is not None:
                raise SystemExit(f"prometheus ended\n{log.read_text()}")
            try:
                return ask(f"{self.url}/-/ready")[0] == 200
            except OSError:
                return False

        eventually("prometheus", answers)

    def query(self, expression):
        """The values, or the error as a text."""
        path = urllib.parse.urlencode({"query": expression})
        _, _, body = ask(f"{self.url}/api/v1/query?{path}")
        answer = json.loads(body)
        if answer["status"] != "success":
            return answer["error"]
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    def wait(self):
        """Lets time pass in which there is something to see."""
        scraped = f"min(count_over_time(up[{SOON * 2}s]))"
        eventually("scrapes", lambda: (self.query(scraped) or [0])[0] > SCRAPES)


@contextlib.contextmanager
def trading(trade):
    """Orders come, one after the other."""
    stop = threading.Event()

    def orders():
        order = 0
        while not stop.wait(0.1):
            order += 1
            trade(order)

    thread = threading.Thread(target=orders)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def problems(prometheus):
    """Everything that a query says and should not."""
    rules = [rule for group in alerts.spec()["groups"] for rule in group["rules"]]
    asked = [(title, expression, "panel") for title, expression in panels()]
    asked += [(rule["alert"], rule["expr"], "alert") for rule in rules if "alert" in rule]
    asked += [(rule["record"], rule["expr"], "record") for rule in rules if "record" in rule]
    known = {}
    for title, expression, kind in asked:
        expression = concrete(expression)
        for selector in selectors(expression):
            if selector not in known:
                known[selector] = prometheus.query(selector)
            if not isinstance(known[selector], list) or not known[selector]:
                yield f"{title}: there is no series {selector}"
        values = prometheus.query(expression)
        if isinstance(values, str):
            yield f"{title}: {values}: {expression}"
        elif kind == "alert" and values:
            yield f"{title}: fires in a deployment that is well: {values}"
        # A quantile of nothing is no number.
        elif kind != "alert" and (title in EMPTY) != all(math.isnan(value) for value in values):
            yield f"{title}: shows {values}, {EMPTY.get(title, 'and should show something')}: {expression}"


def lasting_problems(prometheus):
    """What is still so after a while: a machine has slow moments, and a wrong query stays wrong."""
    deadline = time.monotonic() + SOON
    while True:
        found = [*problems(prometheus)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(INTERVAL)


def layout():
    """Panels have numbers of their own and do not lie upon each other."""
    for path in sorted((ROOT / "k8s/dashboards").glob("*.json")):
        ids, cells = [], set()
        for panel in json.loads(path.read_text())["panels"]:
            place = panel["gridPos"]
            mine = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            if mine & cells or place["x"] + place["w"] > 24:
                yield f"{path.name}: {panel['title']} lies upon another panel"
            cells |= mine
            if panel["id"] in ids:
                yield f"{path.name}: {panel['title']} has the id of another panel"
            ids.append(panel["id"])
            for target in panel.get("targets", []):
                if target["datasource"]["uid"] != "${datasource}":
                    yield f"{path.name}: {panel['title']} is bound to one data source"


def main():
    began = time.monotonic()
    with Deployment(sys.argv[1]) as deployment:
        targets = {role: at["admin"].removeprefix("http://") for role, at in deployment.at.items()}
        with Prometheus(targets) as prometheus:
            with trading(deployment.trade):
                prometheus.wait()
                found = [*layout(), *lasting_problems(prometheus)]
            series = prometheus.query('count({__name__=~"waypost_.*"})')
        if found:
            found += deployment.complaints()
    for problem in found:
        print(problem, file=sys.stderr)
    queries = len(list(panels()))
    print(
        f"{queries} queries of panels, {len(alerts.alerts(alerts.spec()))} alerts, {series[0]:.0f} series, "
        f"{len(found)} problems ({time.monotonic() - began:.0f} s)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

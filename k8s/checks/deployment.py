"""A deployment on this machine: edge, settlement and API as processes of their own, with visitors and merchants."""

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

# What a process is not told, as on Kubernetes.
UNTOLD = {"edge": ("WAYPOST__STORE__",), "settle": ("WAYPOST__REDIS__",), "api": ("WAYPOST__KAFKA__", "WAYPOST__REDIS__")}

# What anything may take on a busy machine, in seconds.
SOON = 60

# Clicks of other user agents are of class `crawler` and earn nothing. Each version is another visitor.
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"


class Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, not a way to go."""

    def redirect_request(self, *_):
        return None


CLIENT = urllib.request.build_opener(Stay)


def ask(url, body=None, key=None, method=None, headers=None):
    """The status, the headers and the body of an answer, whatever it is."""
    request = urllib.request.Request(url, method=method, headers=headers or {})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        answer = CLIENT.open(request, timeout=SOON)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read()


def eventually(what, probe):
    """The first answer of `probe` that is something."""
    deadline = time.monotonic() + SOON
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {SOON} s")
        time.sleep(0.1)


class Deployment(contextlib.ExitStack):
    """Waypost's processes in a folder of their own; all of them end with it."""

    def __init__(self, binary):
        super().__init__()
        self.binary = os.path.abspath(binary)
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="waypost-dashboards-")))
        # Topics, keys and tables of its own: others may use the same services.
        name = f"dashboards_{secrets.token_hex(4)}"
        self.database = name
        store = os.environ["WAYPOST_TEST_POSTGRES"]
        self.environment = {
            "PATH": os.environ["PATH"],
            "WAYPOST__KAFKA__BROKERS": os.environ["WAYPOST_TEST_KAFKA"],
            "WAYPOST__KAFKA__PREFIX": f"{name}.",
            "WAYPOST__REDIS__URL": os.environ["WAYPOST_TEST_REDIS"],
            "WAYPOST__REDIS__PREFIX": f"{name}:",
            "WAYPOST__STORE__URL": f"{store.rsplit('/', 1)[0]}/{name}",
            "WAYPOST__TOKEN__KEYS": f'[{{ id = 1, state = "active", secret = "{secrets.token_hex(32)}" }}]',
            "WAYPOST__VISITOR__HASH_SECRET": secrets.token_hex(32),
            "WAYPOST__SECRETS__KEYS": f'["{secrets.token_hex(32)}"]',
            "WAYPOST__EDGE__LISTEN": "127.0.0.1:0",
            "WAYPOST__EDGE__CORES": "1",
            "WAYPOST__EDGE__DEFAULT_ACCOUNT": "shop",
            "WAYPOST__EDGE__DRAIN_DELAY_MS": "0",
            "WAYPOST__API__LISTEN": "127.0.0.1:0",
            "WAYPOST__ADMIN__LISTEN": "127.0.0.1:0",
            "WAYPOST__CATALOG__SNAPSHOT_INTERVAL_MS": "1000",
            "WAYPOST__LOG__FORMAT": "json",
        }
        # The folders of the processes: role to what its ready file says.
        self.at = {}

    def run(self, *args):
        """What a command prints; it must succeed."""
        done = subprocess.run(
            [self.binary, *args, f"--data-dir={self.folder}/commands"],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(f"waypost {' '.join(args)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def start(self, role):
        """Starts a process and waits until it serves."""
        ready, log = self.folder / f"{role}.json", self.folder / f"{role}.log"
        process = subprocess.Popen(
            [self.binary, role, f"--data-dir={self.folder}/{role}", f"--ready-file={ready}"],
            env={key: value for key, value in self.environment.items() if not key.startswith(UNTOLD[role])},
            stderr=log.open("w"),
        )
        self.callback(self.stop, process)

        def is_ready():
            if process.poll() is not None:
                raise SystemExit(f"waypost {role} ended: {process.returncode}\n{log.read_text()}")
            return ready.exists()

        eventually(f"waypost {role}", is_ready)
        self.at[role] = json.loads(ready.read_text())

    @staticmethod
    def stop(process):
        process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self):
        super().__enter__()
        psql = ["psql", "--quiet", "--no-psqlrc", os.environ["WAYPOST_TEST_POSTGRES"], "--command"]
        subprocess.run([*psql, f"CREATE DATABASE {self.database}"], check=True)
        drop = [*psql, f"DROP DATABASE {self.database} WITH (FORCE)"]
        # A worker of autovacuum in there may not be ended: it is soon done.
        self.callback(eventually, "the database to go", lambda: subprocess.run(drop).returncode == 0)
        self.run("migrate")
        self.run("topics", "create", "--replication=1", "--min-insync=1", "--partitions=2")
        self.run("account", "create", "shop")
        words = self.run("key", "create", "--account=shop").split()
        (self.key,) = [word for word in words if word.startswith("wp_sk_")]
        for role in ("api", "settle", "edge"):
            self.start(role)
        self.furnish()
        return self

    def api(self, path, body=None, method=None):
        status, _, answer = ask(f"{self.at['api']['api']}{path}", body, self.key, method)
        if status >= 300:
            raise SystemExit(f"{path}: {status}\n{answer.decode()}")
        return json.loads(answer)

    def furnish(self):
        """A program with a link that every edge knows."""
        commission = {"form": "percentage", "value": "10"}
        program = {"id": "summer", "name": "Summer", "currency": "USD", "destination": "https://shop.example/"}
        self.api("/v1/programs", {**program, "commission_types": [commission]})
        self.api("/v1/affiliates", {"id": "jane", "email": "jane@blog.example"})
        self.api("/v1/programs/summer/affiliates/jane", {"standing": "approved"}, "PUT")
        self.api("/v1/affiliates/jane/links", {"code": "jane"})
        eventually("the link on the edge", lambda: self.follow() is not None)

    def complaints(self):
        """What the processes have said that is worse than information."""
        for role in self.at:
            for line in (self.folder / f"{role}.log").read_text().splitlines():
                if '"level":"INFO"' not in line:
                    yield f"{role}: {line}"

    def follow(self, visitor=0):
        """The click id that the link's destination gets."""
        browser = {"User-Agent": BROWSER.format(visitor)}
        status, headers, _ = ask(f"{self.at['edge']['edge']}/r/jane", headers=browser)
        return headers["Location"].rsplit("click_id=", 1)[1] if status == 302 else None

    def trade(self, order):
        """A visitor buys something and gives some of it back; another comes by pixel, a third leads nowhere."""
        edge, click = self.at["edge"]["edge"], self.follow(order)
        sale = {"program": "summer", "external_id": f"order-{order}", "amount": "50.00", "click_id": click}
        refund = {"conversion_external_id": sale["external_id"], "external_id": f"refund-{order}", "amount": "5.00"}
        for path, body in (("conversion", sale), ("refund", {**refund, "program": "summer"})):
            status, _, answer = ask(f"{edge}/v1/events/{path}", body, self.key)
            if status != 202:
                raise SystemExit(f"{path}: {status}\n{answer.decode()}")
        ask(f"{edge}/pixel/summer.gif?external_id=pixel-{order}&amount=1")
        ask(f"{edge}/r/nowhere")
        self.api("/v1/conversions?limit=1")

"""`waypost edge` or `waypost dev` beside a bare server, with the event log that is built in."""

import contextlib
import datetime
import os
import platform
import shlex
import shutil
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from load import Load, median
from servers import LOAD_CORE, ROOT, SERVER_CORE, Server, progress

ANY_PORT = "127.0.0.1:0"


class Comparison:
    contestants = ("bare", "waypost")

    def __init__(self, args, binaries, folder):
        self.args, self.binaries, self.folder = args, binaries, folder
        self.load = self.make_load()
        self.full = defaultdict(list)
        self.half = defaultdict(list)
        self.threads = defaultdict(float)
        self.idle_mb = []
        self.notes = []
        self.count = 0
        self.template = folder / "template"
        if args.mode != "dev" and not args.waypost_cmd:
            self.make_template()

    def make_load(self):
        return Load(self.folder, self.binaries, self.args.codes.split(","), self.args.connections)

    def secrets(self):
        """What all processes of one deployment share, by environment variable."""
        return {}

    def make_template(self):
        """A data folder with the demo in it; every run of the edge gets a copy."""
        place = self.folder / "0-template"
        place.mkdir()
        dev = Server([str(self.binaries / "waypost"), "dev", "--data-dir", str(self.template), "--edge-listen", ANY_PORT,
                      "--api-listen", ANY_PORT, "--admin-listen", ANY_PORT], place, self.secrets())
        self.secret_key = dev.addresses["secret_key"]
        dev.stop()

    def make_data(self, data):
        """What an edge finds in its folder."""
        shutil.copytree(self.template, data)

    def start(self, name, folder):
        """A contestant that serves."""
        if name == "bare":
            return Server([str(self.binaries / "bare_redirect"), "--listen", ANY_PORT], folder, {})
        return self.start_waypost(folder, {})

    def start_waypost(self, folder, environment):
        if self.args.waypost_cmd:
            return Server(shlex.split(self.args.waypost_cmd.replace("{data}", str(folder / "data"))), folder, {})
        common = ["--data-dir", str(folder / "data"), "--admin-listen", ANY_PORT, "--log-format", "json",
                  "--set", "edge.cores=1", "--set", "log.filter=warn"]
        if self.args.mode == "dev":
            command = ["dev", "--edge-listen", ANY_PORT, "--api-listen", ANY_PORT, *common]
        else:
            self.make_data(folder / "data")
            command = ["edge", "--listen", ANY_PORT, "--set", "edge.default_account=demo",
                       "--set", 'edge.trusted_proxies=["127.0.0.0/8"]', *common]
        if self.args.geoip:
            environment = {**environment, "WAYPOST__GEOIP__COUNTRY": str(Path(self.args.geoip).resolve())}
        return Server([str(self.binaries / "waypost"), *command], folder, environment)

    @contextlib.contextmanager
    def server(self, name):
        self.count += 1
        folder = self.folder / f"{self.count}-{name}"
        folder.mkdir()
        server = self.start(name, folder)
        try:
            for code in self.args.codes.split(","):
                server.check(code)
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def run_full(self, name):
        with self.server(name) as server:
            server.wait_idle(5)
            if name == "waypost":
                self.idle_mb.append(server.resident_mb())
            self.load.full(server, 1)
            server.wait_idle(self.args.settle_wait)
            cpu, threads = server.cpu(), server.cpu_by_thread()
            result = self.load.full(server, self.args.seconds)
            spent = server.cpu() - cpu
            if name == "waypost":
                for thread, seconds in server.cpu_by_thread().items():
                    self.threads[thread] += (seconds - threads.get(thread, 0.0)) / result["requests"]
            if not server.wait_idle(self.args.settle_wait):
                self.notes.append(f"{name} was still busy {self.args.settle_wait} s after a run at full load")
            after = server.cpu() - cpu - spent
            if result["errors"]:
                self.notes.append(f"{name}: {result['errors']} errors at full load")
            self.notes += [f"{name}: {line}" for line in server.lost()]
        self.full[name].append({
            "rate": result["requests"] / (result["us"] / 1e6),
            "p50": result["p50_us"], "p99": result["p99_us"],
            "cpu": spent / result["requests"] * 1e6,
            "after": after / result["requests"] * 1e6, "requests": result["requests"],
        })

    def steady(self, server, name, rate):
        """One run at a steady rate, with what it cost the server."""
        cpu = server.cpu()
        result = self.load.steady(server, rate, self.args.seconds)
        spent = server.cpu() - cpu
        if result["errors"]:
            self.notes.append(f"{name}: {result['errors']} errors at {rate:,}/s")
        return {
            "p50": result["p50_us"], "p99": result["p99_us"], "p999": result["p999_us"],
            "cpu": spent / max(result["requests"], 1) * 1e6, "requests": result["requests"],
        }

    def run_half(self, name, rate):
        with self.server(name) as server:
            self.load.full(server, 1)
            server.wait_idle(self.args.settle_wait)
            self.half[name].append(self.steady(server, name, rate))
            self.notes += [f"{name}: {line}" for line in server.lost()]

    def half_rates(self):
        """The same for all: half of what the slowest of them reaches."""
        rate = int(min(median(self.full[name], "rate") for name in self.contestants) / 2)
        return dict.fromkeys(self.contestants, rate)

    def run(self):
        for n in range(self.args.rounds):
            for name in self.contestants:
                progress(f"full load, round {n + 1} of {self.args.rounds}: {name}")
                self.run_full(name)
        self.rates = self.half_rates()
        for n in range(self.args.rounds):
            for name in self.contestants:
                progress(f"half load ({self.rates[name]}/s), round {n + 1} of {self.args.rounds}: {name}")
                self.run_half(name, self.rates[name])

    def machine(self):
        cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                    if line.startswith("model name")), platform.machine())
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        return (f"{datetime.date.today()}, commit {commit.stdout.strip() or 'unknown'}, {cpu}, {os.cpu_count()} cores, "
                f"Linux {platform.release()}")

    def headline(self):
        return (f"{self.machine()}; {self.args.rounds} rounds of {self.args.seconds} s, server on core "
                f"{SERVER_CORE}, load on core {LOAD_CORE}, {self.args.connections} connections, profile "
                f"{self.args.profile}, `waypost {self.args.mode}`. Medians.")

    def by_thread(self):
        return "CPU of waypost per request at full load, by thread name, µs: " + ", ".join(
            f"`{name}` {seconds / self.args.rounds * 1e6:.2f}"
            for name, seconds in sorted(self.threads.items(), key=lambda entry: -entry[1])
            if seconds / self.args.rounds * 1e6 >= 0.005) + "."

    def idle(self):
        return (f"Resident memory of waypost when idle, right after the start: "
                f"{statistics.median(self.idle_mb):.1f} MB.")

    def all_notes(self):
        return ["", "Notes:", *[f"- {note}" for note in self.notes]] if self.notes else []

    def report(self):
        full, half, rate = self.full, self.half, self.rates["bare"]
        print("\n".join([
            self.headline(),
            "",
            "| | bare hyper | waypost | waypost, all rounds | ratio |",
            "|---|---|---|---|---|",
            row("full load: requests/s", full, "rate", 0),
            row("full load: p50, µs", full, "p50", 0),
            row("full load: p99, µs", full, "p99", 0),
            row("full load: CPU per request, µs (ratio: bare / waypost)", full, "cpu", 2, inverse=True),
            row("full load: CPU per request after the run, µs", full, "after", 2),
            row(f"half load ({rate:,}/s): p50, µs", half, "p50", 0),
            row(f"half load ({rate:,}/s): p99, µs", half, "p99", 0),
            row(f"half load ({rate:,}/s): p99.9, µs", half, "p999", 0),
            row(f"half load ({rate:,}/s): CPU per request, µs (ratio: bare / waypost)", half, "cpu", 2, inverse=True),
            "",
            self.idle(),
            "",
            self.by_thread(),
            *self.all_notes(),
        ]))


def row(label, rounds, key, digits, inverse=False):
    bare, waypost = median(rounds["bare"], key), median(rounds["waypost"], key)
    low, high = (min(e[key] for e in rounds["waypost"]), max(e[key] for e in rounds["waypost"]))
    over, under = (bare, waypost) if inverse else (waypost, bare)
    ratio = f"{over / under:.2f}" if under else "–"
    shown = [f"{value:,.{digits}f}" for value in (bare, waypost, low, high)]
    return f"| {label} | {shown[0]} | {shown[1]} | {shown[2]} to {shown[3]} | {ratio} |"

"""Servers that are measured: each alone on core 0, from the moment it serves until it is told to stop."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = "0", "1"
READY_SECONDS = 60
STOP_SECONDS = 20


def fail(text):
    sys.exit(f"load-tests/run: {text}")


def progress(text):
    print(text, file=sys.stderr, flush=True)


def stat(path):
    """Name and seconds of user and system time of a process or thread."""
    text = path.read_text()
    fields = text[text.rindex(")") + 2:].split()
    return text[text.index("(") + 1:text.rindex(")")], (int(fields[11]) + int(fields[12])) / TICK


class Process:
    """A process on core 0 unless told otherwise, with whatever it starts."""

    def __init__(self, command, folder, environment, core=SERVER_CORE):
        self.name = Path(command[0]).name
        self.log = folder / "log.txt"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", core, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={**os.environ, **environment})
        try:
            self.address = self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                log = self.log.read_text(errors="replace")
                fail(f"{self.name} ended with {self.process.returncode}:\n{log}")
            address = self.ready()
            if address:
                return address
            time.sleep(0.02)
        fail(f"{self.name} was not ready within {READY_SECONDS} s")

    def check(self, code):
        connection = http.client.HTTPConnection(self.address, timeout=5)
        connection.request("GET", f"/r/{code}")
        status = connection.getresponse().status
        connection.close()
        if status != 302:
            fail(f"/r/{code} was answered {status} by {self.name}, not 302")

    def processes(self):
        """The process and its children, as nginx has workers."""
        found = [Path(f"/proc/{self.process.pid}")]
        for task in (found[0] / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += [Path(f"/proc/{pid}") for pid in (task / "children").read_text().split()]
        return found

    def cpu(self):
        """Seconds of user and system time, ended threads included."""
        return sum(stat(process / "stat")[1] for process in self.processes())

    def cpu_by_thread(self):
        """The same by thread name without its number."""
        spent = defaultdict(float)
        for process in self.processes():
            for task in (process / "task").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    name, seconds = stat(task / "stat")
                    spent[re.sub(r"[-_]?\d+$", "", name)] += seconds
        return spent

    def resident_mb(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) / 1024

    def wait_idle(self, seconds):
        """Waits until it does next to nothing for half a second."""
        deadline = time.monotonic() + seconds
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.cpu()
            if now - before <= 0.02:
                return True
            before = now
        return False

    def lost(self):
        """Counters of lost events that are not 0."""
        return []

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Server(Process):
    """One of ours: it says in a file where it serves."""

    def __init__(self, command, folder, environment, core=SERVER_CORE):
        self.ready_file = folder / "ready.json"
        self.addresses = {}
        super().__init__([*command, "--ready-file", str(self.ready_file)], folder, environment, core)

    def ready(self):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            self.addresses = json.loads(self.ready_file.read_text())
            return urllib.parse.urlsplit(self.addresses.get("edge") or self.addresses["admin"]).netloc
        return None

    def metrics(self):
        """Every series with its value."""
        admin = self.addresses.get("admin")
        if not admin:
            return {}
        text = urllib.request.urlopen(f"{admin}/metrics", timeout=5).read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, value in lines}

    def lost(self):
        return [f"{series} {value:.0f}" for series, value in self.metrics().items()
                if re.match(r"waypost_\w*lost\w*_total", series) and value > 0]


class Nginx(Process):
    """nginx with one worker, by a configuration of load-tests/nginx."""

    def __init__(self, name, folder, values):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        text = (HERE / "nginx" / name).read_text()
        # The worker writes into the folder, which is its starter's.
        user = "user root;" if os.geteuid() == 0 else ""
        for key, value in {"PORT": self.port, "USER": user, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        (folder / "nginx.conf").write_text(text)
        super().__init__(["nginx", "-p", f"{folder}/", "-e", "error.log", "-c", "nginx.conf"], folder, {})

    def ready(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return f"127.0.0.1:{self.port}"
        return None

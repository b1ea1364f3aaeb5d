"""Builds of `waypost edge` beside each other and beside bare hyper, in a way that the machine's moods spoil little."""

import contextlib
import math
import random
import statistics
from pathlib import Path

from production import Production
from servers import fail, progress


class Builds(Production):
    """All servers live through the whole comparison; each gets the load in turn, in a new order each round.

    What one round says is compared within that round. A server that was started anew for each run lies in memory in
    another way each time, and minutes pass between its run and the other's.
    """

    def __init__(self, args, binaries, folder):
        self.others = {}
        for other in args.beside:
            name, _, place = other.partition("=")
            if not (Path(place) / "waypost").is_file() or name in ("", "bare", "waypost", *self.others):
                fail(f"--beside {other}: a name of its own is wanted and the folder of a waypost, as NAME=FOLDER")
            self.others[name] = place
        self.contestants = ("bare", "waypost", *self.others)
        self.cpu = {name: [] for name in self.contestants}
        super().__init__(args, binaries, folder)

    def start(self, name, folder):
        if name not in self.others:
            return super().start(name, folder)
        ours, self.binaries = self.binaries, Path(self.others[name])
        try:
            return self.start_waypost(folder, self.waypost_environment())
        finally:
            self.binaries = ours

    def compare(self):
        self.publish()
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(self.server(name)) for name in self.contestants}
            for server in servers.values():
                self.load.full(server, 1)
                server.wait_idle(self.args.settle_wait)
            for n in range(self.args.rounds):
                progress(f"round {n + 1} of {self.args.rounds}")
                self.run_round(servers)
            self.notes += [f"{name}: {line}" for name, server in servers.items() for line in server.lost()]

    def run_round(self, servers):
        self.services.forget_visitors()
        for name in random.sample(self.contestants, len(self.contestants)):
            server = servers[name]
            before = server.cpu()
            result = self.load.full(server, self.args.seconds)
            # What is done after the answers belongs to them.
            if not server.wait_idle(self.args.settle_wait):
                self.notes.append(f"{name} was still busy {self.args.settle_wait} s after its load")
            self.cpu[name].append((server.cpu() - before) / result["requests"] * 1e6)
            if result["errors"]:
                self.notes.append(f"{name}: {result['errors']} errors")

    def report(self):
        lines = [
            f"{self.machine()}; {self.args.rounds} rounds of {self.args.seconds} s, all servers alive on core 0, each "
            f"loaded in turn over {self.args.connections} connections. Means of what a round says, with their standard "
            "errors.",
            "",
            "| | CPU per request, µs | CPU: this / waypost |",
            "|---|---|---|",
        ]
        for name, cpu in self.cpu.items():
            ratios = [this / own for this, own in zip(cpu, self.cpu["waypost"])]
            lines.append(f"| {name} | {mean(cpu)} | {mean(ratios)} |")
        print("\n".join([*lines, *self.all_notes()]))


def mean(values):
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {error:.3f}"

"""What the objects say of Waypost's settings: files, variables, probes, ports, times and sizes."""

import os
import re
import secrets as random
import subprocess
import tempfile
import tomllib
from pathlib import Path

from objects import WORKLOADS, container, of, port, template
from schemas import name

# What a process may take beyond `edge.drain_timeout_ms` (src/commands/process.rs), in seconds.
END_SECONDS = 5

# Where the ConfigMap and the authorities are mounted.
MOUNT = Path("/etc/waypost")


def leaves(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def seconds(milliseconds):
    return milliseconds / 1000


def quantity(text):
    """A Kubernetes quantity as a number: 2500m, 2Gi, 1."""
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text)).groups()
    scale = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(number) * scale[unit]


class Deployed:
    """A build with what stands outside of it: the defaults, the Secrets, the binary."""

    def __init__(self, items, defaults, secrets, binary):
        self.items = items
        self.defaults = dict(leaves(defaults))
        self.secrets = {s["metadata"]["name"]: s["stringData"] for s in secrets}
        self.binary = binary

    def mounted(self, workload):
        """Name to content of the files in /etc/waypost; a Secret's content stands for whatever it will be."""
        files = {}
        for volume in template(workload)["spec"].get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                if "configMap" in source:
                    wanted = source["configMap"]["name"]
                    maps = [m for m in of(self.items, "ConfigMap") if m["metadata"]["name"] == wanted]
                    files.update(*(m["data"] for m in maps))
                elif "secret" in source:
                    files.update(self.secrets.get(source["secret"]["name"], {}))
        return files

    def files(self, workload):
        """The names of the files that its command line gives as --config, in their order."""
        options = [arg.removeprefix("--config=") for arg in container(workload)["args"] if arg.startswith("--config=")]
        return [str(Path(option).relative_to(MOUNT)) for option in options]

    def settings(self, workload):
        """Key to value: the defaults and what the files change."""
        result, mounted = dict(self.defaults), self.mounted(workload)
        for file in self.files(workload):
            result.update(leaves(tomllib.loads(mounted.get(file, ""))))
        return result

    def variables(self, workload):
        """The environment as the pod gets it."""
        result = {}
        for source in container(workload).get("envFrom", []):
            result.update(self.secrets.get(source["secretRef"]["name"], {}))
        result.update((each["name"], each["value"]) for each in container(workload).get("env", []))
        return result

    # Each check yields sentences.

    def sources(self):
        """Every file and every Secret is there, and holds nothing but settings that exist."""
        for workload in of(self.items, *WORKLOADS):
            mounted = self.mounted(workload)
            for file in self.files(workload):
                if file not in mounted:
                    yield f"{name(workload)}: no ConfigMap has the file {file}"
                    continue
                for key, _ in leaves(tomllib.loads(mounted[file])):
                    if key not in self.defaults:
                        yield f"{name(workload)}: {file}: there is no setting {key}"
            for source in container(workload).get("envFrom", []):
                if source["secretRef"]["name"] not in self.secrets:
                    yield f"{name(workload)}: the example has no Secret {source['secretRef']['name']}"
            for variable in self.variables(workload):
                key = variable.removeprefix("WAYPOST__").replace("__", ".").lower()
                if variable.startswith("WAYPOST") and key not in self.defaults:
                    yield f"{name(workload)}: {variable} is no setting"
            for key, value in self.settings(workload).items():
                path = Path(value) if isinstance(value, str) and value.startswith(f"{MOUNT}/") else None
                if path and path.name not in mounted:
                    yield f"{name(workload)}: {key}: nothing puts {path} there"
        used = {s["secretRef"]["name"] for w in of(self.items, *WORKLOADS) for s in container(w).get("envFrom", [])}
        for secret, data in self.secrets.items():
            if secret not in used and any(key.startswith("WAYPOST") for key in data):
                yield f"Secret/{secret}: no pod reads it"

    def listeners(self):
        """Ports are those of the settings; probes ask the admin listener for what it has."""
        wanted = {"edge": ("http", "edge.listen"), "api": ("http", "api.listen"), "settle": (None, None)}
        for workload in of(self.items, "Deployment", "StatefulSet"):
            who, settings, role = name(workload), self.settings(workload), container(workload)["args"][0]
            public, key = wanted[role]
            expected = {"admin": settings["admin.listen"]}
            if public:
                expected[public] = settings[key]
            found = {each["name"]: each["containerPort"] for each in container(workload)["ports"]}
            for port_name, address in expected.items():
                host, number = address.rsplit(":", 1)
                if host != "0.0.0.0":
                    yield f"{who}: listens on {address} for {port_name}, which nobody reaches"
                if found.pop(port_name, None) != int(number):
                    yield f"{who}: the port {port_name} is not that of {address}"
            if found:
                yield f"{who}: nobody listens on {found}"
            for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
                get = container(workload).get(probe, {}).get("httpGet", {})
                if get.get("path") != path:
                    yield f"{who}: {probe} asks for {get.get('path')}, not {path}"
                if port(workload, get.get("port")) != int(settings["admin.listen"].rsplit(":", 1)[1]):
                    yield f"{who}: {probe} asks the port {get.get('port')}, which is not admin.listen"

    def times(self):
        """The grace of a pod is longer than its pause and its drain."""
        for workload in of(self.items, "Deployment", "StatefulSet"):
            pause = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            needed = pause + seconds(self.settings(workload)["edge.drain_timeout_ms"]) + END_SECONDS
            grace = template(workload)["spec"].get("terminationGracePeriodSeconds", 30)
            if grace <= needed:
                yield f"{name(workload)}: terminationGracePeriodSeconds is {grace}, but it may take {needed:g} s to end"

    def sizes(self):
        """The volume holds the spool and as much again; the CPU feeds the runtimes; the pools fit PostgreSQL."""
        for workload in of(self.items, "StatefulSet"):
            settings, box = self.settings(workload), container(workload)
            for claim in workload["spec"]["volumeClaimTemplates"]:
                room = quantity(claim["spec"]["resources"]["requests"]["storage"])
                if room < 2 * settings["spool.max_bytes"]:
                    yield f"{name(workload)}: the volume is smaller than twice spool.max_bytes"
            if not 0 < settings["edge.cores"] <= quantity(box["resources"]["requests"]["cpu"]):
                yield f"{name(workload)}: edge.cores is {settings['edge.cores']}, more than the CPU it asks for"
            if quantity(box["resources"]["limits"]["memory"]) < 4 * settings["kafka.queue_bytes"]:
                yield f"{name(workload)}: a quarter of the memory is less than kafka.queue_bytes"
        for workload in of(self.items, *WORKLOADS):
            data, mounts = self.settings(workload)["data_dir"], container(workload)["volumeMounts"]
            role = container(workload)["args"][0]
            if role != "topics" and not any(data.startswith(f"{m['mountPath']}/") for m in mounts if not m.get("readOnly")):
                yield f"{name(workload)}: data_dir is {data}, where nothing can be written"

    def accepted(self):
        """Waypost itself takes the settings and knows the commands."""
        for workload in of(self.items, *WORKLOADS):
            args = [arg for arg in container(workload)["args"] if not arg.startswith("--config=")]
            known = subprocess.run([self.binary, *args, "--help"], capture_output=True, text=True)
            if known.returncode != 0:
                yield f"{name(workload)}: `waypost {' '.join(args)}`: {known.stderr.strip()}"
            with tempfile.TemporaryDirectory() as folder:
                for file, text in self.mounted(workload).items():
                    Path(folder, file).write_text(text)
                files = [f"--config={folder}/{file}" for file in self.files(workload)]
                # Waypost refuses the placeholders of the example, as it should.
                environment = {k: v.replace("0" * 64, random.token_hex(32)) for k, v in self.variables(workload).items()}
                check = subprocess.run(
                    [self.binary, "config", "check", *files],
                    env={"PATH": os.environ["PATH"], **environment},
                    capture_output=True,
                    text=True,
                )
                if check.returncode != 0:
                    yield f"{name(workload)}: {check.stderr.strip()}"

    def problems(self):
        found = [*self.sources()]
        # The rest reads the settings, which then are not what they seem.
        if not found:
            for check in (self.listeners, self.times, self.sizes, self.accepted):
                found.extend(check())
        return found

"""What the objects say of each other: selectors, ports, Secrets, ConfigMaps; and how little the pods may do."""

import re

from schemas import name

# Kinds with a pod template, and Waypost's pods by their component.
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")


def of(items, *kinds):
    return [item for item in items if item["kind"] in kinds]


def template(workload):
    return (workload["spec"].get("jobTemplate") or workload)["spec"]["template"]


def container(workload):
    return template(workload)["spec"]["containers"][0]


def selects(selector, labels):
    """Whether a LabelSelector, or the plain map of a Service, takes pods with these labels."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        selector = {"matchLabels": selector}
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    # The only operator in use.
    return all(labels.get(term["key"]) in term["values"] for term in selector.get("matchExpressions", []))


def chosen(items, selector):
    return [w for w in of(items, *WORKLOADS) if selects(selector, template(w)["metadata"]["labels"])]


def port(workload, number_or_name):
    """The number of a container's port, or None."""
    for known in container(workload).get("ports", []):
        if number_or_name in (known["name"], known["containerPort"]):
            return known["containerPort"]
    return None


def pods(items):
    for workload in of(items, *WORKLOADS):
        who, spec = name(workload), template(workload)["spec"]
        wanted = [
            (spec.get("automountServiceAccountToken"), False, "automountServiceAccountToken"),
            (spec.get("enableServiceLinks"), False, "enableServiceLinks"),
            (spec.get("securityContext", {}).get("runAsNonRoot"), True, "runAsNonRoot"),
            (spec.get("securityContext", {}).get("seccompProfile"), {"type": "RuntimeDefault"}, "seccompProfile"),
        ]
        boxes = [*spec.get("initContainers", []), *spec["containers"]]
        for security in (box.get("securityContext", {}) for box in boxes):
            wanted += [
                (security.get("allowPrivilegeEscalation"), False, "allowPrivilegeEscalation"),
                (security.get("readOnlyRootFilesystem"), True, "readOnlyRootFilesystem"),
                (security.get("capabilities"), {"drop": ["ALL"]}, "capabilities"),
            ]
        for is_, should, key in wanted:
            if is_ != should:
                yield f"{who}: {key} is {is_}, not {should}"
        if not spec.get("securityContext", {}).get("runAsUser"):
            yield f"{who}: runAsUser is not set"
        for box in boxes:
            for kind, resource in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                if resource not in box.get("resources", {}).get(kind, {}):
                    yield f"{who}: no {kind} of {resource}"
        if len(spec["containers"]) != 1:
            yield f"{who}: has more than one container; the checks know one"


def selectors(items):
    """Who selects must find somebody."""
    wanted = []
    for item in items:
        spec = item.get("spec", {})
        match item["kind"]:
            case "Deployment" | "StatefulSet":
                labels = template(item)["metadata"]["labels"]
                constraints = template(item)["spec"].get("topologySpreadConstraints", [])
                for selector in [spec["selector"], *(each["labelSelector"] for each in constraints)]:
                    if not selects(selector, labels):
                        yield f"{name(item)}: does not select its own pods: {selector}"
            case "Service":
                wanted.append((item, spec["selector"]))
            case "PodDisruptionBudget":
                wanted.append((item, spec["selector"]))
            case "NetworkPolicy":
                wanted.append((item, spec["podSelector"]))
            case "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                found = [w for w in of(items, target["kind"]) if w["metadata"]["name"] == target["name"]]
                if not found:
                    yield f"{name(item)}: there is no {target['kind']}/{target['name']}"
                if any("replicas" in w["spec"] for w in found):
                    yield f"{name(item)}: its target has replicas of its own, which each apply would bring back"
    for item, selector in wanted:
        if not chosen(items, selector):
            yield f"{name(item)}: selects no pods: {selector}"
    for item in of(items, "StatefulSet"):
        headless = [s for s in of(items, "Service") if s["metadata"]["name"] == item["spec"]["serviceName"]]
        if [s["spec"].get("clusterIP") for s in headless] != ["None"]:
            yield f"{name(item)}: {item['spec']['serviceName']} is no headless Service"


def ports(items):
    for service in of(items, "Service"):
        for each in service["spec"]["ports"]:
            for workload in chosen(items, service["spec"]["selector"]):
                if port(workload, each["targetPort"]) is None:
                    yield f"{name(service)}: {name(workload)} has no port {each['targetPort']}"
    for policy in of(items, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for each in rule.get("ports", []):
                takers = chosen(items, policy["spec"]["podSelector"])
                if all(port(workload, each["port"]) is None for workload in takers):
                    yield f"{name(policy)}: no pod has the port {each['port']}"
    for monitor in of(items, "ServiceMonitor"):
        found = [s for s in of(items, "Service") if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        for endpoint in monitor["spec"]["endpoints"]:
            scraped = {
                name(workload)
                for service in found
                if any(each["name"] == endpoint["port"] for each in service["spec"]["ports"])
                for workload in chosen(items, service["spec"]["selector"])
            }
            for workload in of(items, "Deployment", "StatefulSet"):
                if name(workload) not in scraped:
                    yield f"{name(monitor)}: does not scrape {name(workload)}"


def policies(items):
    """Everything is denied, and then allowed one by one."""
    closed = [
        p
        for p in of(items, "NetworkPolicy")
        if p["spec"]["podSelector"] == {}
        and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not {"ingress", "egress"} & p["spec"].keys()
    ]
    if not closed:
        yield "no NetworkPolicy denies what none allows"


def images(items, version):
    for workload in of(items, *WORKLOADS):
        image = container(workload)["image"]
        if not re.fullmatch(rf".+/waypost:{re.escape(version)}", image):
            yield f"{name(workload)}: the image {image} is not of this version, {version}"


def problems(items, version):
    for check in (pods, selectors, ports, policies):
        yield from check(items)
    yield from images(items, version)

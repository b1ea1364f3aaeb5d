"""Writes the rules of k8s/alerts/rules.yaml and their tests as promtool reads them into a folder: `alerts.py FOLDER`.

On the way it checks what promtool does not: that each alert can be understood and is tested both ways.
"""

import re
import shutil
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "k8s/alerts"
PAGE = "docs/operations.md"
SEVERITIES = ("critical", "warning")


def spec():
    """What is inside the PrometheusRule: what Prometheus itself calls a file of rules."""
    return yaml.safe_load((SOURCE / "rules.yaml").read_text())["spec"]


def alerts(rules):
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def anchors(text):
    """The anchors of a page's headings, as GitHub and most others make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def words(rules, page):
    """What is wrong with the alerts' labels and texts."""
    for alert, rule in alerts(rules).items():
        annotations = rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in SEVERITIES:
            yield f"{alert}: the severity is none of {SEVERITIES}"
        for key in ("summary", "description"):
            if not annotations.get(key, "").strip():
                yield f"{alert}: has no {key}"
        target, _, anchor = annotations.get("runbook_url", "").partition("#")
        if target != PAGE or anchor != alert.lower():
            yield f"{alert}: runbook_url is not {PAGE}#{alert.lower()}"
        if anchor not in anchors(page):
            yield f"{alert}: {PAGE} has no heading for it"
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    for alert in {alert for alert in names if names.count(alert) > 1}:
        yield f"{alert}: is there twice"
    headings = set(re.findall(r"^### (Waypost\w+)$", page, re.MULTILINE))
    for heading in sorted(headings - alerts(rules).keys()):
        yield f"{PAGE}: there is no alert {heading}"


def tested(rules, tests):
    """Alerts without a test in which they fire, or without one in which they do not."""
    outcomes = {alert: set() for alert in alerts(rules)}
    for path, test in tests.items():
        for case in test["tests"]:
            for check in case["alert_rule_test"]:
                if check["alertname"] not in outcomes:
                    yield f"{path.name}: there is no alert {check['alertname']}"
                else:
                    outcomes[check["alertname"]].add(bool(check["exp_alerts"]))
    for alert, seen in outcomes.items():
        for fires, text in ((True, "fires"), (False, "does not fire")):
            if fires not in seen:
                yield f"{alert}: there is no test in which it {text}"


def main():
    folder = Path(sys.argv[1])
    rules = spec()
    tests = {path: yaml.safe_load(path.read_text()) for path in sorted((SOURCE / "tests").glob("*.yaml"))}
    folder.mkdir(parents=True)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False, width=10_000))
    for path in tests:
        shutil.copy(path, folder / f"test-{path.name}")
    found = [*words(rules, (ROOT / PAGE).read_text()), *tested(rules, tests)]
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(alerts(rules))} alerts, {sum(len(test['tests']) for test in tests.values())} tests, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

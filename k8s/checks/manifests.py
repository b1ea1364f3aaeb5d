"""Checks builds of the kustomizations: `manifests.py BUILD.yaml…`, for scripts/k8s.

WAYPOST_CHECK_BINARY is the binary, WAYPOST_CHECK_DEFINITIONS the folder with the Prometheus Operator's definitions.
"""

import os
import sys
import tomllib
from pathlib import Path

import yaml

import objects
import schemas
from settings import Deployed

ROOT = Path(__file__).parents[2]


def read(path):
    return [item for item in yaml.safe_load_all(Path(path).read_text()) if item]


def problems(items):
    """Everything that is wrong with a build, as sentences."""
    custom = schemas.definitions(os.environ["WAYPOST_CHECK_DEFINITIONS"])
    secrets = read(ROOT / "k8s/secrets.example.yaml")
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    defaults = tomllib.loads((ROOT / "config/default.toml").read_text())
    # What does not hold at one step cannot be read at the next.
    return (
        [problem for item in [*items, *secrets] for problem in schemas.problems(item, custom)]
        or [*objects.problems(items, version)]
        or Deployed(items, defaults, secrets, os.environ["WAYPOST_CHECK_BINARY"]).problems()
    )


def main():
    wrong = 0
    for path in sys.argv[1:]:
        items = read(path)
        found = problems(items)
        for problem in found:
            print(f"{path}: {problem}", file=sys.stderr)
        wrong += len(found)
        print(f"{path}: {len(items)} objects, {len(found)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

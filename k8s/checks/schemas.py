"""Objects against their schemas: Kubernetes' own by `kubernetes-validate`, the Prometheus Operator's by its definitions.

A property that a schema does not know is an error: the API server would drop it in silence.
"""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# The oldest Kubernetes that the manifests are for, and the newest that the package knows.
VERSIONS = ("1.30", "1.34")


def strict(schema):
    """The schema of a definition, refusing properties that it does not name."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(part) for key, part in schema.items()}
    if isinstance(result.get("properties"), dict) and "additionalProperties" not in result:
        result["additionalProperties"] = False
    return result


def definitions(folder):
    """(apiVersion, kind) to schema, from the CustomResourceDefinitions in a folder."""
    schemas = {}
    for path in Path(folder).glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            # Every object's metadata has the schema of Kubernetes, which definitions leave out.
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    if not schemas:
        raise SystemExit(f"no definitions in {folder}")
    return schemas


def name(item):
    return f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"


def problems(item, custom):
    """What the schemas say against an object."""
    schema = custom.get((item.get("apiVersion"), item.get("kind")))
    if schema is not None:
        for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
            yield f"{name(item)}: {error.json_path}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except jsonschema.ValidationError as error:
            yield f"{name(item)}: Kubernetes {version}: {error.json_path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name(item)}: {error.message}"
        except KeyError as error:
            yield f"{name(item)}: has no {error}"

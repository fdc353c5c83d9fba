"""The JSON Schemas that editors check the YAML files with."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from roofline.specs.catalog import Folder, json_schema

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[Folder, Path] = {
    "hardware": ROOT / "hardware" / "hardware.schema.json",
    "models": ROOT / "models" / "model.schema.json",
}
KNOWN = {
    *("$ref", "$defs", "title", "description", "type", "properties", "required", "enum", "const"),
    *("additionalProperties", "anyOf", "items", "default", "exclusiveMinimum", "minimum"),
    *("maximum", "discriminator", "propertyName", "mapping", "minLength", "maxLength", "pattern"),
    *("minItems", "maxItems", "prefixItems"),
}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
CASES = [(folder, f) for folder in SCHEMAS for f in sorted((ROOT / folder).glob("*.yaml"))]


def accepts(schema: dict[str, Any], data: Any, root: dict[str, Any]) -> bool:
    """The part of JSON Schema 2020-12 that these schemas use."""
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return accepts(target, data, root) and (not beside or accepts(beside, data, root))
    if "anyOf" in schema:
        return any(accepts(option, data, root) for option in schema["anyOf"])
    if "enum" in schema:
        return data in schema["enum"]
    if "const" in schema:
        return bool(data == schema["const"])
    wanted = schema.get("type")
    if wanted and not isinstance(data, TYPES[wanted]):
        return False
    if wanted in ("number", "integer"):
        inside = schema.get("minimum", data) <= data <= schema.get("maximum", data)
        return inside and not isinstance(data, bool)
    if wanted == "string":
        return schema.get("minLength", 0) <= len(data) <= schema.get("maxLength", len(data))
    if wanted == "array":
        first, rest = schema.get("prefixItems", []), schema.get("items", {})
        schemas = [*first, *[rest] * (len(data) - len(first))]
        long_enough = schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data))
        return long_enough and all(map(accepts, schemas, data, [root] * len(data)))
    if wanted == "object" or ("properties" in schema and isinstance(data, dict)):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return all(name in data for name in schema.get("required", [])) and all(
            accepts(properties[key], value, root)
            if key in properties
            else (others if isinstance(others, bool) else accepts(others, value, root))
            for key, value in data.items()
        )
    return True


def keywords(schema: Any) -> set[str]:
    """Every JSON Schema keyword in use; names of fields and definitions are not keywords."""
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found |= {k for inner in value.values() for k in keywords(inner)}
        elif key in ("anyOf", "prefixItems"):
            found |= {k for inner in value for k in keywords(inner)}
        elif key in ("items", "additionalProperties"):
            found |= keywords(value)
    return found


def published(folder: Folder) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMAS[folder].read_text(encoding="utf-8"))
    return schema


@pytest.mark.parametrize("folder", SCHEMAS)
def test_the_published_schema_is_up_to_date(folder: Folder) -> None:
    assert published(folder) == json.loads(json.dumps(json_schema(folder)))


@pytest.mark.parametrize("folder", SCHEMAS)
def test_only_keywords_that_these_tests_understand(folder: Folder) -> None:
    assert keywords(published(folder)) <= KNOWN


@pytest.mark.parametrize(("folder", "file"), CASES, ids=lambda case: getattr(case, "stem", case))
def test_shipped_files_are_valid_and_name_their_schema(folder: Folder, file: Path) -> None:
    schema, text = published(folder), file.read_text(encoding="utf-8")
    data = yaml.safe_load(text)

    assert accepts(schema, data, schema)
    assert f"$schema={SCHEMAS[folder].name}" in text.splitlines()[0]
    assert not accepts(schema, {**data, "no_such_field": 1}, schema)
    assert not accepts(schema, {k: v for k, v in data.items() if k != "name"}, schema)
    assert not accepts(schema, {**data, "kind": "no such kind"}, schema)


def test_a_schema_refuses_what_the_loader_refuses() -> None:
    schema = published("hardware")
    data = yaml.safe_load((ROOT / "hardware" / "v100.yaml").read_text(encoding="utf-8"))

    assert not accepts(schema, {**data, "memory_capacity_gib": 16}, schema)
    for implausible in (-16, 1e-300, 1e30):
        data["memory_capacity_gib"]["value"] = implausible
        assert not accepts(schema, data, schema)

"""The document of the interface says all that is there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfypod.web.site.openapi import openapi_document
from comfypod.web.site.openapi_schemas import SCHEMAS
from tests.cli.conftest import ScriptedEndpoint, artifact, success
from tests.web.server.conftest import RUN, Site

ROOT = Path(__file__).parents[3]


def described() -> set[tuple[str, str]]:
    paths = openapi_document()["paths"]
    return {(method.upper(), path) for path, operations in paths.items() for method in operations}


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name == "$ref")
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


async def test_it_has_every_route_and_no_other(site: Site) -> None:
    application = site.server._runner.app
    routes = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.resource.canonical))
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert described() == routes


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    document = openapi_document()
    named = set(references(document))
    for reference in named:
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    assert {f"#/components/schemas/{name}" for name in SCHEMAS} <= named


def test_every_part_of_a_path_is_a_parameter_and_names_are_used_once() -> None:
    names = []
    for path, operations in openapi_document()["paths"].items():
        for operation in operations.values():
            names.append(operation["operationId"])
            given = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
            assert given == set(re.findall(r"\{(\w+)\}", path)), path
            assert operation["summary"]
            assert operation["responses"]
    assert len(names) == len(set(names))


KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, schema: Any) -> bool:
    """Whether a document is as the schema says: as much of JSON Schema as is used here."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return fits(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if options := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        return any(fits(value, option) for option in options)
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        return False
    items = value if isinstance(value, list) else []
    is_object = isinstance(value, dict)
    return all(fits(item, schema.get("items", {})) for item in items) and (not is_object or fits_object(value, schema))


def fits_object(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    is_known = not properties or "additionalProperties" in schema or set(value) <= set(properties)
    is_complete = set(schema.get("required", [])) <= set(value)
    return is_known and is_complete and all(fits(item, properties.get(name, others)) for name, item in value.items())


async def test_what_is_answered_is_what_it_says(site: Site, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (success(artifact(b"a picture"), texts=[{"node_id": "1", "key": "text", "value": "a caption"}]),)
    browser = await site.browser()
    run = await browser.json("POST", "api/runs", 201, RUN)
    ended = await browser.ended(run["id"])
    assert {output["kind"] for output in ended["outputs"]} == {"image", "text"}
    for document, name in (
        (run, "Run"),
        (ended, "Run"),
        (await browser.get("api/runs"), "RunPage"),
        (await browser.get("api/endpoint"), "EndpointState"),
        (await browser.get("api/session"), "Session"),
        (await browser.get("health"), "Health"),
        (await browser.json("POST", "api/forms", 200, {"workflow": "text_to_image"}), "Form"),
        (await browser.json("POST", "api/uploads?name=a", 201, {}), "Upload"),
        (await browser.json("GET", "api/nothing", 404), "Error"),
        *((item, "TemplateForm") for item in await browser.get("api/templates")),
    ):
        assert fits(document, SCHEMAS[name]), (name, document)
    assert not fits({**ended, "state": "lost"}, SCHEMAS["Run"])


async def test_it_is_served(site: Site) -> None:
    program = await site.program()
    document = await program.get("api/openapi.json")
    assert document == openapi_document()
    assert document["openapi"].startswith("3.1.")


@pytest.mark.parametrize("path", sorted({path for _, path in described() if path.startswith("/api/")}))
def test_the_page_about_it_names_every_route(path: str) -> None:
    page = (ROOT / "docs" / "reference" / "web.md").read_text(encoding="utf-8")
    beginning = path.removeprefix("/").partition("{")[0].rstrip("/")
    assert beginning in page

"""`/docs`: the reference of the API as plain HTML, made of its OpenAPI document; it needs no script and no other host."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

PATH = "/docs"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

Schema = dict[str, Any]


def install(app: FastAPI) -> None:
    """Serves the page; it is rendered at the first request."""
    rendered: list[str] = []

    @app.get(PATH, include_in_schema=False)
    def reference() -> HTMLResponse:
        if not rendered:
            rendered.append(_page(app.openapi()))
        return HTMLResponse(rendered[0], headers=HEADERS)


def _page(document: Schema) -> str:
    schemas = document["components"]["schemas"]

    def resolved(schema: Schema) -> Schema:
        """The schema itself, the referenced one, or the only one that is not null."""
        if "$ref" in schema:
            return resolved(schemas[schema["$ref"].rpartition("/")[2]])
        choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        return resolved(choices[0]) if len(choices) == 1 else schema

    environment = Environment(
        loader=PackageLoader("knowledge_migration.knowledge", "api"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"resolved": resolved, "type": lambda schema: _type(schema, resolved(schema))}
    groups = {tag["name"]: (tag["description"], _operations(document, tag["name"])) for tag in document["tags"]}
    return environment.get_template("reference_page.html.j2").render(document=document, groups=groups)


def _operations(document: Schema, tag: str) -> list[Schema]:
    return [
        {"method": method.upper(), "path": path, **operation}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if tag in operation["tags"]
    ]


def _type(given: Schema, schema: Schema) -> str:
    """The type as text: `integer`, `list of string`, `"approve" or "reject"`, or the name of an object."""
    if "enum" in schema or "const" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(_type(one, one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], schema['items'])}"
    if "$ref" in given:
        return str(given["$ref"]).rpartition("/")[2]
    return str(schema.get("format") or schema.get("type") or schema.get("title") or "any")

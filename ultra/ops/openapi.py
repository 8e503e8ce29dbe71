"""The description of what `ultra serve` answers, in OpenAPI 3.1, made from the tables the answers are made from."""

from typing import Any

from .. import __version__
from ..cold.command import COMMON, SHAPES, TEXT_BYTES_MAX, TYPES, WAITS
from ..hot import risk as risks
from .queries import FILTERS, QUERIES

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"], "format": "int64"},
    "price": {"type": ["string", "null"], "description": "an amount, exact, as 585.69"},
    "money": {"type": "string", "description": "an amount, exact, as -12.50"},
    "boolean": {"type": "boolean"},
}
_JSON: dict[type, dict[str, Any]] = {bool: {"type": "boolean"}, int: {"type": "integer"}, str: {"type": "string"}}
ERROR = {"$ref": "#/components/schemas/Error"}


def describe() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {f"/v1/{name}": {"get": _query(name)} for name in QUERIES}
    paths["/v1/commands"] = {"post": _commands()}
    paths["/openapi.json"] = {
        "get": {"summary": "This description.", "responses": {"200": _answer("The document.", {"type": "object"})}}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "ultra", "version": __version__, "description": "Queries and commands of one run."},
        "paths": paths,
        "components": {"schemas": {"Error": _object({"error": {"type": "string"}}), "Answer": _command_answer()}},
    }


def _object(properties: dict[str, Any], needed: tuple[str, ...] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties if needed is None else needed)}


def _answer(about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _query(name: str) -> dict[str, Any]:
    query = QUERIES[name]
    row = _object({column: _TYPES[kind] for column, kind in query.columns.items()})
    found = _object(
        {
            "sequence": {"type": "integer", "description": "inputs below it are counted in"},
            "ts": {"type": "integer", "description": "of the last of them, ns"},
            "complete": {"type": "boolean", "description": "the run has ended in good order"},
            "rows": {"type": "array", "items": row},
        }
    )
    return {
        "summary": query.about,
        "parameters": [
            {"name": key, "in": "query", "description": FILTERS[key][2], "schema": {"type": FILTERS[key][0]}}
            for key in query.filters
        ],
        "responses": {
            "200": _answer("Rows, and the input that they are of.", found),
            "400": _answer("No such filter, or no such value.", ERROR),
            "503": _answer("Nothing was projected yet.", ERROR),
        },
    }


def _commands() -> dict[str, Any]:
    return {
        "summary": "Tell the run what to do. The same id is done once, and answered again.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": [_command(name) for name in SHAPES]}}},
        },
        "responses": {
            "200": _answer("Done.", {"$ref": "#/components/schemas/Answer"}),
            "400": _answer("No such command; nothing was done.", ERROR),
            "409": _answer("The engine refused it, for `reason`.", {"$ref": "#/components/schemas/Answer"}),
            "503": _answer("No run listens, or it did not answer: send it again under the same id.", ERROR),
        },
    }


def _command(name: str) -> dict[str, Any]:
    _, needed, possible = SHAPES[name]
    texts: dict[str, Any] = {key: {"type": "string", "maxLength": limit} for key, limit in TEXT_BYTES_MAX.items()}
    fields = {key: {"anyOf": _types(key), "description": TYPES[key][1]} for key in (*needed, *possible)}
    properties = {"command": {"const": name}, **texts, "wait": {"enum": list(WAITS)}, **fields}
    return {**_object(properties, (*COMMON, *needed)), "title": name, "additionalProperties": False}


def _types(key: str) -> list[dict[str, Any]]:
    return [_JSON.get(kind, {"type": "number"}) for kind in TYPES[key][0]]


def _command_answer() -> dict[str, Any]:
    return _object(
        {
            "ok": {"type": "boolean"},
            "id": {"type": "string"},
            "sequence": {"type": "integer", "description": "of the command among the run's inputs"},
            "durability": {"enum": list(WAITS)},
            "reason": {"enum": ["", *risks.REASONS[1:]]},
            "order": {"type": ["integer", "null"], "description": "number of the new order"},
            "cancels": {"type": "integer"},
            "repeated": {"type": "boolean", "description": "it was done before; this is its first answer"},
        }
    )

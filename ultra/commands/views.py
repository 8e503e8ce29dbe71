"""`ultra project`, `query`, `serve`: what a run has come to, read while it goes on and without touching it."""

import argparse
import json
from pathlib import Path
from typing import Any

from . import DONE, command, show_compiling

NAMES = ("positions", "orders", "blotter", "pnl", "limits", "audit", "state")


def add(commands: Any) -> None:
    """All three."""
    for each in (_add_project, _add_query, _add_serve):
        each(commands)


def _add_project(commands: Any) -> None:
    parser = command(
        commands, "project", _project, "Make a journal into tables of SQLite, from the start or on from there.",
        "ultra project runs/20261123T093000 --follow",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR", help="the journal")
    parser.add_argument("--db", type=Path, metavar="FILE", help="the database (default DIR/projections.db)")
    parser.add_argument("--follow", action="store_true", help="go on while the run does")
    parser.add_argument("--rebuild", action="store_true", help="from the start, whatever is there")
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _project(given: argparse.Namespace) -> int:
    from ..ops import projections

    show_compiling()
    db = given.db or given.folder / "projections.db"
    found = projections.project(given.folder, db, follow=given.follow, rebuild=given.rebuild, source=given.source)
    print(json.dumps(found) if given.json else projections.as_text(found))
    return DONE


def _add_query(commands: Any) -> None:
    parser = command(
        commands, "query", _query, "Ask the tables that ultra project made.", "ultra query runs/x/projections.db pnl"
    )
    parser.add_argument("db", type=Path, metavar="DB", help="the database, or the folder of its journal")
    parser.add_argument("what", choices=NAMES, metavar="WHAT", help=", ".join(NAMES))
    parser.add_argument("--instrument", metavar="SYMBOL", help="only this symbol")
    parser.add_argument("--kind", metavar="KIND", help="of the blotter: only this kind, as fill")
    parser.add_argument("--command", dest="verb", metavar="NAME", help="of the audit: only this command, as halt")
    parser.add_argument("--id", metavar="ID", help="of the audit: only the command with this id")
    parser.add_argument("--after", type=int, metavar="N", help="only what came after input N")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many rows")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _query(given: argparse.Namespace) -> int:
    from ..ops import queries

    words = {"instrument": given.instrument, "kind": given.kind, "command": given.verb, "id": given.id,
             "after": given.after, "limit": given.limit}  # fmt: skip
    filters = {name: value for name, value in words.items() if value is not None}
    found = queries.ask(_database(given.db), given.what, filters)
    print(json.dumps(found) if given.json else queries.as_text(given.what, found))
    return DONE


def _database(path: Path) -> Path:
    return path / "projections.db" if path.is_dir() else path


def _add_serve(commands: Any) -> None:
    parser = command(
        commands, "serve", _serve, "Queries and commands over HTTP and JSON; /openapi.json says how.",
        "ultra serve runs/x/projections.db --session desk --port 8642",
    )  # fmt: skip
    parser.add_argument("db", type=Path, metavar="DB", help="the database, or the folder of its journal")
    parser.add_argument("--session", default="", metavar="NAME", help="the run that commands are for (default none)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8642, metavar="N", help="0 = any (default 8642)")
    for name, about in (("cert", "our certificate"), ("key", "its key"), ("ca", "who signs those of who may ask")):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"PEM: {about}")


def _serve(given: argparse.Namespace) -> int:
    from ..ops import serve

    files = (given.tls_cert, given.tls_key, given.tls_ca)
    return serve.run(_database(given.db), given.session, given.host, given.port, files)

"""The stream that a journal goes into: how it is made, what it must be like, and what an ack of it is worth.

An ack of JetStream says that a quorum of servers has taken a message. Where to is another question: by default into the
page cache, synced every two minutes, and servers before 2.10 can do nothing else. What a client can't see is said to
be unknown, never guessed.
Source: NATS server 2.12 documentation, JetStream API (ADR-1, ADR-28), and jepsen.io/analyses/nats-2.12.1.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .shipment import subject_of

GOOD_VERSION: Final = (2, 12)
SYNC_VERSION: Final = (2, 10)  # the first with `sync_interval`
DUPLICATES_NS: Final = 120_000_000_000
# A journal of the ids that tests and people use: letters, digits, - and _ (no dots, no blanks: JetStream).
STREAM_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,56}")
PAGE_CACHE: Final = "page cache, synced every 2 minutes"


class BerthError(Exception):
    """The stream, or its server, is not one that a journal may go into: says which setting, and what is wanted."""


def stream_name(journal_id: bytes) -> str:
    """The stream that a journal goes into when nobody says another."""
    return f"ultra-{journal_id.hex()}"


def wanted(stream: str, journal_id: bytes, replicas: int) -> dict[str, Any]:
    """The settings of a new stream, as JetStream's API has them."""
    return {
        "name": stream, "subjects": [f"{subject_of(journal_id)}.>"], "storage": "file", "retention": "limits",
        "discard": "new", "num_replicas": replicas, "deny_delete": True, "deny_purge": True, "max_msgs": -1,
        "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "duplicate_window": DUPLICATES_NS,
        "allow_rollup_hdrs": False,
    }  # fmt: skip


def refused(config: dict[str, Any], journal_id: bytes, replicas: int) -> list[str]:
    """What of a stream's settings could lose messages of ours, or let others in; [] when nothing could."""
    found = []
    for key, good, why in (
        ("storage", "file", "in memory it is gone with its server"),
        ("retention", "limits", "what was read would be removed"),
        ("max_age", 0, "old messages would be removed"),
        ("no_ack", False, "nothing would say that a message is stored"),
        ("sealed", False, "nothing can be added"),
        ("allow_rollup_hdrs", False, "one message could remove all others"),
        ("persist_mode", "", "asynchronous: an ack says nothing"),
    ):
        value = config.get(key, good)
        if value != good and not (key == "persist_mode" and value == "default"):
            found.append(f"{key} = {value}: wanted {good or 'default'} ({why})")
    if config.get("max_msgs_per_subject", -1) not in (-1, 0):
        found.append(f"max_msgs_per_subject = {config['max_msgs_per_subject']}: wanted -1 (older ones are removed)")
    limited = any(config.get(key, -1) not in (-1, 0) for key in ("max_msgs", "max_bytes"))
    if limited and config.get("discard", "old") != "new":
        found.append("discard = old with a limit: wanted new (the oldest messages would be removed)")
    if config.get("mirror") or config.get("sources"):
        found.append("it is filled from other streams: wanted one of its own")
    if not any(_covers(subject, journal_id) for subject in config.get("subjects") or ()):
        found.append(f"subjects = {config.get('subjects')}: wanted {subject_of(journal_id)}.>")
    if int(config.get("num_replicas", 1)) < replicas:
        found.append(f"num_replicas = {config.get('num_replicas', 1)}: --replicas {replicas} was asked for")
    return found


def warned(config: dict[str, Any], version: str) -> list[str]:
    """What of a stream or its server is not as good as it could be."""
    found = []
    for key in ("deny_delete", "deny_purge"):
        if not config.get(key):
            found.append(f"{key} is not set: whoever may use the stream can remove messages")
    if version_of(version) < GOOD_VERSION:
        found.append(f"nats-server {version}: {'.'.join(map(str, GOOD_VERSION))} or later loses less (see the docs)")
    return found


def durability(config: dict[str, Any], version: str, seen: dict[str, Any] | None) -> dict[str, Any]:
    """What an ack is worth. `seen` is the `config` that a server's /jsz shows, None when nobody asked it."""
    replicas = int(config.get("num_replicas", 1))
    if version_of(version) < SYNC_VERSION:
        sync = PAGE_CACHE
    elif seen is None:
        sync = "unknown: a client can't see it; name the server's monitoring port with --monitor"
    elif seen.get("sync_always"):
        sync = "always"
    elif seen.get("sync_interval"):
        sync = f"page cache, synced every {int(seen['sync_interval']) / 1e9:g} s"
    else:
        sync = "unknown: this server's /jsz does not say"
    copies = "1 server" if replicas == 1 else f"{replicas // 2 + 1} of {replicas} servers"
    if sync == "always":
        survives = f"kill -9 and a power cut of all, once {copies} had it"
    elif sync.startswith("unknown"):
        survives = f"kill -9 of all, once {copies} had it; of power cuts nothing is known"
    else:
        survives = f"kill -9 of all, once {copies} had it; a power cut of {'it' if replicas == 1 else 'a quorum'} not"
    return {"replicas": replicas, "server": version, "sync": sync, "acked_survives": survives}


def version_of(text: str) -> tuple[int, int]:
    """2.9.10 -> (2, 9); (0, 0) of what is no version."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _covers(subject: str, journal_id: bytes) -> bool:
    """Whether a stream of this subject gets all of a journal's."""
    given, ours = subject.split("."), [*subject_of(journal_id).split("."), ">"]
    for number, word in enumerate(given):
        if word == ">":
            return number < len(ours)
        if number >= len(ours) or word not in ("*", ours[number]):
            return False
    return False

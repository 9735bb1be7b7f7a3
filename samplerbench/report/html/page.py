"""A report as a page: one file, its script and style known by their hashes, its records in it as JSON."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from html import escape
from importlib import resources
from typing import Any

from ..view import Report
from .data import records_of, shown_of
from .sections import sections
from .svg import marker_defs

__all__ = ["page"]


def page(report: Report) -> str:
    """The whole file."""
    style, script = _resource("style.css"), _resource("script.js")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = sections(report)
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in parts)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{inner}</section>'
        for name, title, inner in parts
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in (*report.table.notes, *report.notes))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="generator" content="samplerbench {escape(report.version)}">'
        f"<title>{escape(report.title)}</title><style>{style}</style></head>\n<body>"
        f'<a class="skip" href="#results-section">To the table of results</a>{marker_defs()}'
        f"<header><h1>{escape(report.title)}</h1><p>{escape(report.table.conditions)}</p>{notes}"
        f'<nav aria-label="Contents">{links}</nav></header>\n<main>{body}</main>\n'
        f"<footer><p>Made by samplerbench {escape(report.version)}. This file loads nothing; the rows it shows are in "
        "it as JSON, in the element with the id “records”.</p></footer>"
        '<p id="said" role="status" aria-live="polite"></p>\n'
        f"{_json('data', shown_of(report))}\n{_json('records', records_of(report))}\n"
        f"<script>{script}</script></body></html>\n"
    )


def _json(name: str, value: Any) -> str:
    """Data in the page. No text in it can end the element that it is in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()

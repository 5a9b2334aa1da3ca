"""A page as one file of HTML that needs nothing else: style, script, data and Plotly are in it.

A policy in the file lets the browser run these scripts alone and fetch nothing. Plotly's 5 MB go in
compressed (the browser unpacks them), which leaves a file that an e-mail can carry. Knows nothing
of runs.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tuner.errors import TunerError
from tuner.headings import decimals

_FOLDER = Path(__file__).parent

# JSON in HTML: what could end the script element, or a line of the script, is written as escapes.
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Following:
    """Of a page that is written again: seconds until a newer one may be there, and seconds without
    one after which nobody writes it any more, it seems."""

    refresh: float
    silence: float


def render(
    template: str,
    data: dict[str, Any],
    *,
    charts: bool,
    following: Following | None = None,
    **words: Any,
) -> str:
    """The page that `template` (a file beside this one) makes of `words`. `data` goes in as JSON
    for the script; with `charts` Plotly goes in, too. Only with `following` does the page ever load
    itself again."""
    script = _text("page.js")
    bundle = plotly() if charts else None
    again = _text("follow.js") if following else None
    scripts = [script, *([bundle.source] if bundle else []), *([again] if again else [])]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(scripts, charts),
            style=Markup(_text("style.css")),  # our own files, as they are
            script=Markup(script),
            data=embedded(data),
            plotly=Markup(bundle.packed) if bundle else None,
            again=Markup(again) if again else None,
            following=following,
            **words,
        )
    )


def embedded(data: dict[str, Any]) -> Markup:
    """JSON that may stand in a script element, whatever texts are in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


class Bundle:
    """Plotly's script: as it is run, and as it is kept in a page (base64 of gzip)."""

    def __init__(self, source: str) -> None:
        self.source = source
        packed = gzip.compress(source.encode(), compresslevel=9, mtime=0)
        self.packed = base64.b64encode(packed).decode()


@functools.cache
def plotly() -> Bundle:
    """The script that the package plotly carries. The package itself is not imported."""
    found = find_spec("plotly")
    file = Path(found.origin or "").parent / "package_data" / "plotly.min.js" if found else None
    try:
        return Bundle((file or Path("plotly.min.js")).read_text(encoding="utf-8"))
    except OSError as error:
        raise TunerError(
            f"the package plotly has no script ({error.strerror}); install it again: "
            "pip install --force-reinstall plotly"
        ) from error


def _policy(scripts: list[str], charts: bool) -> str:
    """What the browser may do: run these scripts, show what they draw, and fetch nothing. Plotly's
    parallel coordinates compile what they draw with, which has a word of its own here."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    compiling = " 'unsafe-eval'" if charts else ""
    return (
        f"default-src 'none'; script-src {hashes}{compiling}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["decimals"] = decimals
    return environment

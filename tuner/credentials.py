"""What must not be shown: keys, tokens and passwords in texts that go to a log, a journal, a
terminal or a tracker. Knows texts and the environment; nothing of where they go.
"""

from __future__ import annotations

import os
import re
from typing import Any

MASK = "…"

_SECRET_NAME = re.compile(
    r"((^|_|API|ACCESS|ACCOUNT)KEY|_KEY_ID|TOKEN|PASSWORD|PASSWD|SECRET|(^|_)PAT)$", re.IGNORECASE
)
_LEAST = 6
_LEAST_NAMED = 8
"""What is given, or what the environment names, that is shorter is no secret: masked, it would tear
texts apart."""

_PROSE = (
    r"(?!(?:absent|cannot|denied|expected|expired|forbidden|incorrect|invalid|mandatory|mismatch|"
    r"missing|needed|refused|rejected|required|should|unknown|unset|wrong)(?![^\s\"'&,;.)}\]]))"
)
"""What follows is none of the words with which a message goes on after naming a secret."""

_SCHEME = re.compile(r"([\"'`]?)([A-Za-z][\w+.-]*)$", re.ASCII)
"""Of a URI: the quote that it stands in, and its scheme."""

_SCHEME_LENGTH = 40
_NEXT = r"[,;](?=[A-Za-z][\w+.-]{0,30}://)"
_END = {quote: re.compile(rf"{quote}(?![\w@/%&+~!#$*-])|{_NEXT}", re.ASCII) for quote in "\"'`"}
_END[""] = re.compile(rf"\s|{_NEXT}", re.ASCII)
"""Where a URI ends in a text, by the quote that it stands in: at its closing (a password may hold
quotes, too), or else at a space; and where the next one of a list follows."""

_USER = re.compile(r"[^/:@\s\"']*([:@])")
_PORT = re.compile(r"\d{1,5}(?:$|[/\"',])", re.ASCII)
_WEB = ("http", "https", "ws", "wss")
"""Schemes of addresses in which a port, and a path with an @ in it, are nothing odd."""

_SHAPES = re.compile(
    r"\b(?:"
    r"(?:hf|api_org)_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|wandb_v\d_[A-Za-z0-9_]{20,}|local-[0-9a-f]{40}"  # Weights & Biases
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}"  # Google
    r"|dapi[0-9a-f]{32}"  # Databricks, where MLflow may be
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|sk-[\w-]{20,}"
    r")+"
)
_NAMED = (
    # Of W&B's older keys nothing but what stands before them tells them from a commit.
    re.compile(r"((?:wandb|api[ _-]?key|netrc)[^\n]{0,40}?\b)[0-9a-f]{40}\b", re.IGNORECASE),
    re.compile(
        r"(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\s\"',]+",
        re.IGNORECASE,
    ),
    re.compile(
        r"(authorization[\"']?\s*[:=]\s*[\"']?\w+\s+)(?=[\w.+/-]*\d)[\w.+/-]{16,}=*",
        re.IGNORECASE,
    ),
    re.compile(r"(\bbearer\s+)[\w+/=.~-]{16,}", re.IGNORECASE),
    re.compile(
        r"((?:password|passwd|secret|(?:api|access|account|private|secret)[ _-]?key(?:[_-]?id)?)"
        rf"[\"']?\s*[=:]\s*[\"']?){_PROSE}[^\s\"'&,;)}}\]]{{6,}}",
        re.IGNORECASE,
    ),
    re.compile(r"(token[\"']?\s*[=:]\s*[\"']?)(?=[\w.+/-]*\d)[\w.+/-]{16,}=*", re.IGNORECASE),
    # Signed addresses of objects in a store.
    re.compile(
        r"((?<=[?&])(?:x-(?:amz|goog)-(?:credential|signature|security-token)|sig|signature|"
        r"awsaccesskeyid|googleaccessid)=)[^&\s\"']+",
        re.IGNORECASE,
    ),
)


def without_credentials(text: str, *, whole: bool = False) -> str:
    """A text without the user names and passwords of the URIs in it; `whole`: it is a URI, spaces
    and all.

    What stands before the last @ of a URI that has a user is taken for the user's: a password may
    hold @, / and quotes, as a secret key of AWS does, and nothing tells its end from an @ in the
    path (https://datatracker.ietf.org/doc/html/rfc3986#section-3.2.1 would have all of these
    written as %40 and %2F). A user whose name holds a slash is not told from a host.
    """
    kept: list[str] = []
    places = _Ends(text)
    done, mark = 0, text.find("://")
    while mark >= 0:
        begins = mark + 3
        ends = len(text) if whole else places.after(mark)
        last = text.rfind("@", begins, ends)
        if last < 0:
            mark = text.find("://", max(begins, ends))
        elif _has_user(text, mark, ends):
            kept.append(text[done:begins])
            done = last + 1
            mark = text.find("://", done)
        else:
            mark = text.find("://", begins)
    return "".join([*kept, text[done:]])


def value_without_credentials(value: Any) -> Any:
    """Plain data, each text in it without user name and password: it is a URI, or none."""
    if isinstance(value, str):
        return without_credentials(value, whole=True)
    if isinstance(value, list | tuple):
        return [value_without_credentials(item) for item in value]
    if isinstance(value, dict):
        return {key: value_without_credentials(item) for key, item in value.items()}
    return value


class _Ends:
    """Where the URIs of a text end. What ends one is looked for once and not again for each of
    them, so that a text takes no longer than it is long."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next: dict[str, int] = {}

    def after(self, mark: int) -> int:
        """Where the URI ends whose scheme ends at `mark`; asked for from left to right."""
        opened = _SCHEME.search(self._text, max(0, mark - _SCHEME_LENGTH), mark)
        ends = self._first(opened[1] if opened else "", mark)
        return ends if ends < len(self._text) else self._first("", mark)

    def _first(self, quote: str, mark: int) -> int:
        if self._next.get(quote, -1) < mark:
            found = _END[quote].search(self._text, mark)
            self._next[quote] = found.start() if found else len(self._text)
        return self._next[quote]


def _has_user(text: str, mark: int, ends: int) -> bool:
    """Whether a URI that holds an @ names a user before its host; its scheme ends at `mark`."""
    user = _USER.match(text, mark + 3, ends)
    if user is None or user[1] == "@":
        return user is not None
    if text.startswith("//", user.end()):  # one URI in another
        return False
    if (port := _PORT.match(text, user.end(), ends)) is None:
        return True
    # Only on the web does a path hold an @ more often than a password begins like a port.
    scheme = _SCHEME.search(text, max(0, mark - _SCHEME_LENGTH), mark)
    web = scheme is None or scheme[2].rpartition("+")[2].lower() in _WEB
    return port[0].endswith("/") and not web


def masked(text: str, *secrets: str) -> str:
    """`text` without what is secret in it: the `secrets` given, what variables of the environment
    hold whose names say so (`…_KEY`, `…_TOKEN`, …), users and passwords in URIs, and whatever has
    the shape of a token of Hugging Face, Weights & Biases, AWS and the like, or stands where a
    message names one. Now and then that is a word that is no secret. Masked again, it stays the
    same."""
    named = (value for name, value in os.environ.items() if _SECRET_NAME.search(name))
    known = {value for value in secrets if len(value) >= _LEAST}
    known |= {value for value in named if len(value) >= _LEAST_NAMED}
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    # What is masked may bring what follows it close enough to its name to be masked, too.
    while (once := _without_shapes(text)) != text:
        text = once
    return text


def _without_shapes(text: str) -> str:
    text = _SHAPES.sub(MASK, without_credentials(text))
    for pattern in _NAMED:
        text = pattern.sub(rf"\1{MASK}", text)
    return text

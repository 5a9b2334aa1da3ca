"""What must not be shown: keys, tokens and passwords in texts that go to a log, a journal, a
terminal or a tracker. Knows texts and the environment; nothing of where they go.
"""

from __future__ import annotations

import os
import re

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

_URI = re.compile(
    r"(?<=://)(?:"
    r"[^/\s\"']{0,300}@"  # a password may hold an @
    r"|[^/:@\s\"']{1,100}:(?!//|\d+[/\"',])[^@\s]{0,300}@"
    r")+"
)
# A secret key of AWS may hold slashes; what begins as a port does not. Repeated, so that what is
# left is not taken for a user the next time.

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


def without_credentials(uri: str) -> str:
    """A URI, or a text with URIs in it, without their user names and passwords."""
    return _URI.sub("", uri)


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

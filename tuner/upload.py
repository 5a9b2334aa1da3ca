"""An exported model on its way to the Hugging Face Hub, with its card.

What can fail is asked first, in little time: the repository's name, the token, the connection, and
what the token may do. Knows a folder and the Hub; nothing of runs. The token comes from HF_TOKEN or
the login that huggingface_hub keeps, and is shown nowhere.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.credentials import masked
from tuner.errors import TunerError, UserError
from tuner.hub import check_upload
from tuner.runs import EVALUATION

STALE = ("onnx/*", "*.safetensors", "*.safetensors.index.json")
"""What is removed from a repository when the model at hand has no such file: it would be of another
model."""

ANSWER = 10.0
"""Seconds that the Hub gets to say whose a token is."""

_REFUSED = (400, 401, 403, 404, 409, 422)

TOKEN_PAGE = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Destination:
    """A repository that a token may write to, as far as the Hub tells beforehand."""

    repository: str
    user: str
    token: str = field(repr=False)


def destination(repository: str) -> Destination:
    """`repository` (USER/NAME) once the Hub has answered and knows the token.

    Raises UserError for what the user can mend, within seconds.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
        fits = repository.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise UserError(
            f"--push {repository!r}: is no name on the Hub; write USER/NAME, of letters, digits, "
            "'-', '_' and '.'"
        )
    token = get_token()
    if not token:
        raise UserError(
            f"--push {repository}: there is no token; set HF_TOKEN, or log in with `hf auth login` "
            f"(tokens are made at {TOKEN_PAGE})"
        )
    check_upload()
    with _told(token, f"--push {repository}: the Hub does not take the token"):
        said = _soon(_api(token).whoami)
    role = ((said.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UserError(
            f"--push {repository}: the token may only read; make one that may write at {TOKEN_PAGE}"
        )
    return Destination(repository, str(said.get("name")), token)


def contents(folder: Path) -> list[Path]:
    """The files of an exported model that are pushed: not those that are hidden, nor the
    evaluation, which holds texts of rows that may not be everyone's."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path != folder / EVALUATION
        and not any(it.startswith(".") for it in path.relative_to(folder).parts)
    ]


def push(folder: Path, to: Destination, private: bool = False) -> str:
    """Make the repository where there is none, and have it hold the files of `folder`; return its
    URL. Files there that are none of an exported model's stay.

    Raises UserError where the Hub refuses, or where `private` is asked of a repository that is
    public; TunerError for the rest.
    """
    api = _api(to.token)
    with _told(to.token, f"--push {to.repository}: the Hub refuses the repository"):
        url = api.create_repo(to.repository, private=private or None, exist_ok=True)
        public = private and not api.model_info(to.repository).private
    if public:
        raise UserError(
            f"--push {to.repository}: it exists and is public, and --private was asked for; choose "
            "another name, or make it private on the Hub"
        )
    with _told(to.token, f"--push {to.repository}: the upload failed"):
        api.upload_folder(
            repo_id=to.repository,
            folder_path=folder,
            commit_message="A model tuned by tuner",
            allow_patterns=[path.relative_to(folder).as_posix() for path in contents(folder)],
            delete_patterns=list(STALE),
        )
    return str(url)


def _api(token: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="tuner")


def _soon(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `ask` returns. The Hub's client waits for an answer for ever."""
    answers: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def run() -> None:
        try:
            answers.put(ask())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER)
    except queue.Empty:
        raise TimeoutError(f"no answer within {ANSWER:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _told(token: str, what: str) -> Iterator[None]:
    """Whatever the Hub's client raises (its own errors, its HTTP library's, its uploader's) in a
    line, without the token: the user's to mend where the Hub refuses."""
    try:
        yield
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = getattr(error, "server_message", None) or str(error).partition("\n")[0]
        line = masked(" ".join(str(said).split()), token)[:300]
        if status is not None and str(status) not in line:
            line = f"{status}: {line}"
        theirs = status in _REFUSED
        way = f"see what the token may do at {TOKEN_PAGE}" if theirs else "try again later"
        raise (UserError if theirs else TunerError)(f"{what} ({line}); {way}") from None

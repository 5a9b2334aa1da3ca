"""What a disk says when it takes no more (full, read-only, not ours), whichever library says it.

Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tuner.errors import TunerError, Unwritable

_REFUSED = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
)
# What safetensors, tokenizers and ONNX say is the system's text, in an error of their own.
_WORDS = {os.strerror(number).lower(): os.strerror(number) for number in _REFUSED}
# torch's writer of zip files says nothing of the reason.
_TORN = re.compile(r"PytorchStreamWriter failed|unexpected pos \d+ vs \d+|file write failed")

MEND = "free some space, or give this user the right to write there"


def refusal(error: BaseException) -> str | None:
    """What the disk said, where `error` is a disk's refusal to be written; None for all else."""
    for found in _chain(error):
        if isinstance(found, OSError) and found.errno in _REFUSED:
            return os.strerror(found.errno)
        text = str(found).lower()
        for words, said in _WORDS.items():
            if words in text:
                return said
        if _TORN.search(str(found)):
            return "it broke off, as on a full disk"
    return None


def refused_place(error: BaseException) -> str | None:
    """The path that `error` names; None where it names none."""
    names = (found.filename for found in _chain(error) if isinstance(found, OSError))
    return next((os.fsdecode(name) for name in names if isinstance(name, str | bytes)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


@contextmanager
def writing(place: str | os.PathLike[str], then: str) -> Iterator[None]:
    """While `place` is written: a disk that refuses it ends in Unwritable, whose one line names the
    path and the reason, and then says `then`. Other errors stay what they are."""
    try:
        yield
    except TunerError:
        raise
    except Exception as error:
        said = refusal(error)
        if said is None:
            raise
        raise Unwritable(f"{os.fspath(place)} cannot be written ({said}); {then}") from error

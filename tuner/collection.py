"""A pause of the garbage collector, for work that makes much and leaves nothing.

Knows nothing of that work.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """While a long journal is read, or torch and transformers are imported, nothing is garbage, and
    looking for it costs much: of the imports of a slot a fifth."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

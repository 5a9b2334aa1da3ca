"""From a task name to a tuned, honestly scored, exported text classifier.

    from tuner import Settings, tune

    result = tune(Settings(task="rte", trials=20))
    result.leaderboard, result.best, result.model_dir

Importing the package imports nothing heavy: the names below load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.pipeline import Result, resume, train, tune
    from tuner.settings import Settings

__all__ = ["Result", "Settings", "__version__", "resume", "train", "tune"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Settings":
        from tuner.settings import Settings

        return Settings
    if name in ("Result", "resume", "train", "tune"):
        from tuner import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'tuner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

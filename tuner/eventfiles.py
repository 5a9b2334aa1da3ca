"""A run's trials as TensorBoard sees them: a folder a trial, with its curves and hyperparameters.

A trial's file is written whole when the trial has ended, under a fixed name: written again, it is
the same file. Knows endings and files, nothing of searches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.endings import Ending
from tuner.hyperparameters import Value

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

NAME = "events.out.tfevents.tuner"
"""TensorBoard takes a file with `tfevents` in its name for one of events."""

_PLUGIN = "hparams"
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"


def has_events(folder: Path, trial: str) -> bool:
    """Whether the trial's events lie below `folder`."""
    return (folder / trial / NAME).is_file()


def write_events(folder: Path, ending: Ending) -> None:
    """Write `folder`/TRIAL/events.out.tfevents.tuner. Raises OSError.

    Scalars against the optimizer step, and a session of the HParams plugin, without an experiment
    summary: TensorBoard then lists every hyperparameter and every metric that any trial has
    (https://github.com/tensorflow/tensorboard/blob/master/tensorboard/plugins/hparams/api.proto).
    """
    from tensorboardX.record_writer import RecordWriter

    place = folder / ending.name
    place.mkdir(parents=True, exist_ok=True)
    # Derived from the journal, and worth no fsync (which RecordWriter.flush would make).
    temporary = place / ".unfinished"
    writer = RecordWriter(str(temporary))
    try:
        for event in _events(ending):
            writer.write(event.SerializeToString())
    finally:
        writer.close()
    os.replace(temporary, place / NAME)


def _events(ending: Ending) -> Iterator[Event]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import (
        HParamsPluginData,
        SessionEndInfo,
        SessionStartInfo,
    )
    from tensorboardX.proto.summary_pb2 import Summary

    yield Event(wall_time=ending.began, file_version="brain.Event:2")
    start = SessionStartInfo(start_time_secs=ending.began)
    for name, value in ending.configuration.items():
        _set(start.hparams[name], value)
    told = HParamsPluginData(session_start_info=start)
    yield Event(wall_time=ending.began, summary=_summary(_START, told))
    for point in ending.points:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
        yield Event(wall_time=point.time, step=point.step, summary=Summary(value=values))
    status = "STATUS_FAILURE" if ending.failed else "STATUS_SUCCESS"
    end = SessionEndInfo(status=status, end_time_secs=ending.ended)
    told = HParamsPluginData(session_end_info=end)
    yield Event(wall_time=ending.ended, summary=_summary(_END, told))


def _summary(tag: str, told: Any) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name=_PLUGIN, content=told.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])


def _set(place: Any, value: Value) -> None:
    """Put a hyperparameter into a protobuf value of its kind."""
    if isinstance(value, bool):
        place.bool_value = value
    elif isinstance(value, str):
        place.string_value = value
    else:
        place.number_value = value

"""Placement groups whose maker has died: the cores they hold are given back.

Ray keeps a group until the actor that asked for it *and* the whole job have ended, and moves it to
other hosts when its own goes. Train's controller, which asks for a crew's group, dies with its
slot; Train's cleaner of such groups asks the dashboard, which not every cluster has, and knows no
group whose workers had not started yet. The one place that reads Ray's own table of groups, as no
public call tells who made them.
"""

from __future__ import annotations

from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group


def remove_orphans() -> int:
    """Remove the groups of this job whose makers are dead; how many there were.

    Groups of the driver itself and of living actors stay, and so do those of other jobs.
    """
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    found = 0
    kind: Any = gcs_pb2.PlacementGroupTableData  # type: ignore[attr-defined]
    accessor = state._connect_and_get_accessor()
    for line in accessor.get_placement_group_table():
        group = kind.FromString(line)
        gone = group.state == kind.PlacementGroupState.REMOVED
        if gone or group.creator_job_id != job or not _orphaned(group):
            continue
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
        found += 1
    return found


def _orphaned(group: Any) -> bool:
    # Of a group that the driver asked for, Ray says that its actor is dead, and names none.
    by_an_actor = group.creator_actor_id.strip(b"\xff") != b""
    return bool(by_an_actor and group.creator_actor_dead)

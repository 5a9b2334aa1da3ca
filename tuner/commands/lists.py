"""The commands that list what there is: tasks, spaces."""

from __future__ import annotations

from tuner.commands import DONE, app


@app.command()
def tasks() -> int:
    """List the tasks that are built in, and show what a task file may say."""
    from tuner.drafts import EXAMPLE
    from tuner.tasks import TASKS

    for task in TASKS.values():
        labels = ", ".join(task.label_names) or "a number"
        others = [name for name in task.metrics if name != task.objective]
        print(f"{task.name:8}  {task.title}")
        print(f"{'':8}  labels: {labels}")
        print(
            f"{'':8}  objective: {task.objective}"
            + (f"; also {', '.join(others)}" if others else "")
        )
    print(
        "\nOne of your own: --data, with --text and --label where the columns are not found; or a"
    )
    print("task file, --task FILE.yaml, of which any line may be left out:\n")
    for line in EXAMPLE.splitlines():
        print(f"  {line}")
    return DONE


@app.command()
def spaces() -> int:
    """List the search spaces that are built in."""
    from tuner.spaces import built_in_spaces

    print("auto: the one of these that suits the model's kind and size; the default")
    for space in built_in_spaces():
        print(f"{space.name}: {space.description}")
        for parameter in space.parameters:
            print(f"  {parameter.name:28} {parameter}")
        print(f"  {'start points':28} {len(space.start)}")
    return DONE

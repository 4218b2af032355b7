"""Tasks: what a model can be fine-tuned for, by name."""

from collections.abc import Mapping

from danlu.tasks.task import Example as Example
from danlu.tasks.task import Row as Row
from danlu.tasks.task import Task as Task
from danlu.tasks.understanding import CLASSIFY

TASKS: Mapping[str, Task] = {task.name: task for task in (CLASSIFY,)}

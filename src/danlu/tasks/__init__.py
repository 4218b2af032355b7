"""Tasks: what a model can be fine-tuned for, by name."""

from collections.abc import Mapping

from danlu.tasks.choosing import CHOOSE, RETRIEVE
from danlu.tasks.preferring import PREFER
from danlu.tasks.spans import SPAN
from danlu.tasks.tagging import TAG
from danlu.tasks.task import Example as Example
from danlu.tasks.task import Reply as Reply
from danlu.tasks.task import Row as Row
from danlu.tasks.task import Task as Task
from danlu.tasks.understanding import CLASSIFY, MULTILABEL, REGRESS
from danlu.tasks.writing import CHAT, DESCRIBE, SUMMARISE, TRANSLATE
from danlu.tasks.writing import Writing as Writing

TASKS: Mapping[str, Task] = {task.name: task for task in (CLASSIFY, MULTILABEL, REGRESS, TAG, SPAN, CHOOSE, RETRIEVE)}
WRITING: Mapping[str, Writing] = {task.name: task for task in (TRANSLATE, SUMMARISE, DESCRIBE, CHAT, PREFER)}
EVERY: Mapping[str, Task | Writing] = {**TASKS, **WRITING}
ALIASES: Mapping[str, str] = {
    "pair": "classify", "embed": "retrieve", "ner": "tag", "qa": "span", "summarize": "summarise", "dpo": "prefer",
    "instruct": "chat",
}  # fmt: skip

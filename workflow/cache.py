"""Results of nodes by what they depend on, so that only what changed runs again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from .document import Connection, Workflow
from .node import Nodes
from .validate import literals

Values = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """What a node came to: its outputs, and what an editor shows of it."""

    values: Values
    shown: Mapping[str, Any] | None = None


class ResultCache:
    """The results that were used last, of at most `most_bytes` in arrays and `most` in number; threads share it."""

    def __init__(self, most_bytes: int = 2**31, most: int = 512) -> None:
        self._most_bytes, self._most = most_bytes, most
        self._results: OrderedDict[str, tuple[Result, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str | None) -> Result | None:
        """The result of a key, None where there is none."""
        with self._lock:
            if key is None or key not in self._results:
                return None
            self._results.move_to_end(key)
            return self._results[key][0]

    def put(self, key: str | None, result: Result) -> None:
        """Keep a result; one larger than the whole cache is not kept."""
        size = _bytes(result.values)
        if key is None or size > self._most_bytes:
            return
        with self._lock:
            self._bytes += size - self._results.get(key, (result, 0))[1]
            self._results[key] = result, size
            self._results.move_to_end(key)
            while self._bytes > self._most_bytes or len(self._results) > self._most:
                self._bytes -= self._results.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Let go of all results."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._results)


class Keys:
    """The keys of a workflow's nodes: their classes, written inputs, what else they depend on, and those above them.

    None is the key of a node that is never reused, and of those below it.
    """

    def __init__(self, workflow: Workflow, nodes: Nodes, bench: Any) -> None:
        self._workflow, self._nodes, self._bench = workflow, nodes, bench
        self._keys: dict[str, str | None] = {}

    def __getitem__(self, id: str) -> str | None:
        waiting = [id]
        while waiting:  # without recursion: a workflow may be deep
            step = self._workflow.steps[waiting[-1]]
            missing = [link.node for _, link in step.connections() if link.node not in self._keys]
            if missing:
                waiting += missing
            else:
                self._keys[waiting.pop()] = self._key(step.id)
        return self._keys[id]

    def _key(self, id: str) -> str | None:
        step = self._workflow.steps[id]
        node = self._nodes.get(step.kind)
        assert node is not None
        written = literals(step, node, self._bench)
        parts: list[Any] = [step.kind, node.source]
        if node.changes is not None:
            state = node.changes(self._bench, **written)
            if state is None:
                return None
            parts.append(str(state))
        for name in sorted(step.inputs):
            value = step.inputs[name]
            if name not in node.inputs:
                continue
            if isinstance(value, Connection):
                above = self._keys[value.node]
                if above is None:
                    return None
                parts.append([name, above, value.slot])
            else:
                parts.append([name, written[name]])
        return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()


def _bytes(value: Any) -> int:
    """The bytes of the arrays in a value; models are not counted, for the workbench keeps them."""
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, (tuple, list)):
        return sum(map(_bytes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_bytes(getattr(value, each.name)) for each in fields(value))
    return int(getattr(value, "nbytes", 0))

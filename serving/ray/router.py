"""How Ray Serve chooses a replica for a call: by the call's placement."""

from __future__ import annotations

from typing import Any

from ray.serve.request_router import RequestRouter

from .calls import Call
from .placement import Placement, ranked


class ShapeRouter(RequestRouter):  # type: ignore[misc]  # of Ray, which has no types here
    """Sends calls about a job to its replica, and others where those of the same shape are, as `ranked` has it."""

    def initialize_state(self, meet: int) -> None:
        """`meet` is how many calls a replica has at which those of a shape go to the next."""
        self._meet = meet

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        """The replicas to try, the best group first; Serve takes the least busy of a group that has room."""
        by_name = {each.replica_id.unique_id: each for each in candidate_replicas}
        call = pending_request.args[0] if pending_request and pending_request.args else None
        placement, avoided = (call.placement, call.avoided) if isinstance(call, Call) else (Placement(), frozenset())
        if pending_request:
            pending_request.routing_context.should_backoff = True  # where all are full, it waits a little
        loads = {name: self._load(each) for name, each in by_name.items()}
        groups = ranked(placement, loads, avoided, self._meet) if loads else []
        return [[by_name[name] for name in group] for group in groups]

    def _load(self, replica: Any) -> int:
        """The calls of a replica as they were last heard of."""
        return self._replica_queue_len_cache.get(replica.replica_id) or 0

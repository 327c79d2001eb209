"""Work on several machines: a pool of Ray actors that is handed items, survives dead workers and yields results.

connection.py   the Ray cluster: found or started, its nodes, whether it still answers
placement.py    how many workers fit, and what each takes
worker.py       what runs in an actor's process
pool.py         the actors, seen from the driver
dispatch.py     one run: items go out in chunks, results come back, what a dead worker held goes to others

Ray is imported in connection.py alone, when a `Cluster` is made.
"""

from __future__ import annotations

from sightwords.cluster.connection import Cluster
from sightwords.cluster.dispatch import Dispatch, Lost
from sightwords.cluster.placement import Placement
from sightwords.cluster.pool import WorkerPool
from sightwords.cluster.worker import Job

__all__ = ["Cluster", "Dispatch", "Job", "Lost", "Placement", "WorkerPool"]

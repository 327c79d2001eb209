"""Work on several machines: the Ray cluster, and workers on it that Ray Data runs. Ray is imported when it is used."""

from __future__ import annotations

from sightwords.cluster.connection import Placement, ray_library
from sightwords.cluster.workers import Job, Workers

__all__ = ["Job", "Placement", "Workers", "ray_library"]

from __future__ import annotations

from sightwords.cluster.pool import cause, raised
from sightwords.cluster.worker import Failure
from sightwords.errors import ConfigError, ModelError

DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: Worker\n\tip: 10.0.0.7\nThe actor is dead "
    "because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits."
)
NODE_DIED = "The actor died.\nThe actor is dead because its node has died.\n\tThe actor's node was terminated."
AWAY = (
    "The actor 12 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed. The task "
    "may or may not have been executed on the actor."
)


def test_the_cause_of_a_death_is_a_few_words_of_rays_page():
    assert cause(RuntimeError(DIED)) == "its worker process has died"
    assert cause(RuntimeError(NODE_DIED)) == "its node has died"
    assert cause(RuntimeError(AWAY)) == "RpcError: RPC error: Socket closed"
    assert "ran out of memory" in cause(RuntimeError("Task was killed due to the node running low on memory.\nMemory"))
    assert cause(RuntimeError("x" * 1000)) == "x" * 200


def test_errors_come_back_as_what_they_were_with_the_node():
    error = raised(Failure("ConfigError", "--device cuda cannot be used", True), "gpu7 (10.0.0.7)")
    assert isinstance(error, ConfigError)
    assert str(error) == "On gpu7 (10.0.0.7): --device cuda cannot be used"
    other = raised(Failure("MissingExtraError", "transformers is not installed", True), "gpu7 (10.0.0.7)")
    assert type(other) is ModelError

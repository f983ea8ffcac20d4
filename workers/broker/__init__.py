"""The hardened broker: dramatiq over Redis without its ways to lose, to stick and to leak.

Where it stands: `workers.main` builds one broker per process, declares the actors on it and hands it to
`workers.consume.run_worker`. Each file closes one group of faults, all of them seen on the stock broker
(`tests/workers/broker` runs the same faults against both):

| file | what it closes |
| --- | --- |
| `hardened` | Redis errors that are no "connection errors"; retries of non-idempotent scripts; tracebacks in Redis |
| `consumer` | messages stuck in the worker's own ack set; one bad message taking its neighbours |
| `checks` | forged or broken messages: other queues, foreign options, endless numbers |
| `retries` | a retry that cannot be scheduled and is acknowledged all the same |
| `store_pause` | retries burned while MongoDB is away |
| `dead_letters` | dead letters that vanish unseen |
| `janitor` | messages of dead workers that nobody gives back, `.DQ` and retired queues included |
| `event_loop` | a loop thread that outlives the second SIGTERM; coroutines that never end |
| `watchdog` | a process that looks healthy with its threads dead |
| `quiet_logs` | arguments, exception texts and tracebacks in logs |

Nothing uses dramatiq's callbacks, pipelines, groups, results or age limits: the next step of a piece of work is
written with its effect and sent from there. Source: P1, P3, P4.
"""

from workers.broker.hardened import HardenedBroker, Hooks, Tuning, build_broker
from workers.broker.letters import DeadLetter, HeldMessage, Poison
from workers.broker.quiet_logs import quiet_logs
from workers.broker.store_pause import StorePause

__all__ = [
    "DeadLetter",
    "HardenedBroker",
    "HeldMessage",
    "Hooks",
    "Poison",
    "StorePause",
    "Tuning",
    "build_broker",
    "quiet_logs",
]

"""The sides of a comparison, one small module each: streamtask, the bare loop, and every peer.

Each runs with the Python of its own environment, so only `benchmarks.child` imports it. A module has

* `PACKAGES`: the distributions whose versions are printed.
* `SHARE`: it gets 1/SHARE of the messages, so that a slow one does not take the day. streamtask and the bare loop: 1.
* `WORKERS`: the command of a worker for each kind of task it can run, without the Python in front of it:
  `quiet` (async no-op without result), `pair` (the same by two processes), `stored` (with results), `threads` (sync
  no-op), `sleep` (10 ms on the event loop, 100 at once), `pause` (10 ms in one of 100 threads), `idle` (notes its
  start), `echo` (gives its argument back). For benchmarks.scaling: `payload` (with a text beside the number), `spread`
  (over several queues), `dead` (ends as a dead letter). For benchmarks.guarantees: the no-op with one option each.
* `one(kind, *args)`: sends one call. A plain function, or a coroutine function where the framework has no other; `many`
  and `ask` are of the same colour.
* `aone(kind, *args)`: the same, always a coroutine function; where it is missing nothing is sent concurrently.
* `many(kind, numbers)`: sends many calls by the framework's own way to do so.
  `FILLS = False`: not into what its worker reads.
* `later(numbers, ms)`: sends many `idle` calls that are due at one moment, so many ms from now.
* `ask(n)`: sends an `echo` and returns what came back.
* `ready()`: an async context manager around everything above, if clients must be opened.
* `RESULTS`: the pattern of the keys of stored results. `EMPTIES`: whether its streams are empty when all is done.
"""

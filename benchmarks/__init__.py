"""How fast streamtask is beside a bare redis-py loop and beside other frameworks, in the same run: `make bench`.

`make bench` takes about four minutes; `make bench PEERS=1` adds every peer and takes much longer, `PEERS=huey,arq` adds
two. `ROWS=drain` measures the rows whose slug begins so, `N=0.1` with a tenth of the messages, `ROUNDS=5` more often,
`OUT=folder` writes results.json and results.md there. A number from a busy machine says nothing: the ratio beside it
says a little.

`WHAT=floor` measures the building blocks instead, in half a minute: what bounds every framework. `WHAT=scaling`, five
minutes, goes from 1 to a million queued, from 100 B to 100 KB a message, and so on; `N` shrinks the largest numbers.
`WHAT=guarantees`, three minutes: what a task costs more with one option turned on. `WHAT=hub`, two minutes: publishing
through the hub.

How it is measured:

* One private Redis, in memory, over TCP on loopback. One producer, one worker process unless the row says otherwise.
* Rounds are interleaved: each row by each side in turn, in the other order the next round. A ratio compares numbers
  of the same round.
* A drain starts with a full queue, which each round gets as a copy. It counts from the first look that finds a task
  that ran until all ran; of streamtask and the bare loop also until all is acknowledged, which is asked of no peer.
* What ran is counted in a mapped file (`ledger`), the same for all. A run in which a task is missing gives no number.
* streamtask has all its defaults but for what a row names: 10 or 100 threads, 2 processes. Peers are set up as their
  documentation shows, with as many tasks at once as streamtask and few log lines, and have uvloop and hiredis where
  they can use them; each module in `sides` says what is set. A framework without coroutine tasks runs plain ones.
* Who polls for a result asks each millisecond.
"""

"""The demo: the whole service on this machine, with a worker killed on the way and a task that always fails."""

"""How fast streamtask is beside a bare redis-py loop in the same run: `python -m benchmarks`, or `make bench`."""

"""Services built on streamtask, each to be read and run."""

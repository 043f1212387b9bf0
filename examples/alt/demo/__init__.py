"""The whole of it at once, with a service killed and a group that comes late."""

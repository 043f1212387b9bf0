"""The only place that speaks Redis: key names, scripts, connections, and the verbs that the rest of streamtask uses."""

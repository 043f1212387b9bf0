"""A diary service: beat finds the days and months without a summary, workers write them into a database."""

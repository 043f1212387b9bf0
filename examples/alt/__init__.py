"""News from feeds, summarised, tagged and searchable: a backend, an event hub and three services on streamtask."""

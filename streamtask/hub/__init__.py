"""The hub: publish events and call tasks over HTTP, for programs in any language; it takes over from mq-hub."""

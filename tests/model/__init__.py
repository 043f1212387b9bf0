"""The delivery protocol as a model: a server, its scripts as atomic steps, workers as automata, every fault between."""

"""Kafka as the source of a graph: consumer groups, offsets that only pass what is settled, dead letters."""

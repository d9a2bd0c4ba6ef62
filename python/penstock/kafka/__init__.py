"""Kafka as the source of a graph: consumer groups, offsets that only pass what is settled, dead letters."""

import logging

from penstock.kafka.log import Repeated

logging.getLogger("penstock.kafka").addFilter(Repeated())

"""The offline job: a graph over the rows of files, instead of over requests."""

from penstock.offline.job import Job
from penstock.offline.state import Report

__all__ = ["Job", "Report"]

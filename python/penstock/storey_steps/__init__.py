"""The steps of storey that penstock has itself, under storey's names: for graphs, and to subclass without storey.

Examples
--------
>>> from penstock import storey_steps as storey
>>> class Double(storey.MapClass):
...     def do(self, event):
...         return 2 * event
"""

from __future__ import annotations

from penstock.storey_steps.collector import Collector
from penstock.storey_steps.concurrent import ConcurrentExecution, HttpRequest, HttpResponse, SendToHttp
from penstock.storey_steps.csv_target import CSVTarget
from penstock.storey_steps.ends import Assert, Reduce, ReduceToDataFrame
from penstock.storey_steps.fields import (
    Choice,
    Complete,
    DropColumns,
    Partition,
    Partitioned,
    ReifyMetadata,
    Rename,
    ToDataFrame,
)
from penstock.storey_steps.mapclass import MapClass
from penstock.storey_steps.parquet_target import ParquetTarget
from penstock.storey_steps.transforms import Extend, Filter, FlatMap, Flatten, ForEach, Map, MapWithState
from penstock.storey_steps.windows import Batch, EmitPeriod, SampleWindow

__all__ = [
    "Assert",
    "Batch",
    "CSVTarget",
    "Choice",
    "Collector",
    "Complete",
    "ConcurrentExecution",
    "DropColumns",
    "EmitPeriod",
    "Extend",
    "Filter",
    "FlatMap",
    "Flatten",
    "ForEach",
    "HttpRequest",
    "HttpResponse",
    "Map",
    "MapClass",
    "MapWithState",
    "ParquetTarget",
    "Partition",
    "Partitioned",
    "Reduce",
    "ReduceToDataFrame",
    "ReifyMetadata",
    "Rename",
    "SampleWindow",
    "SendToHttp",
    "ToDataFrame",
]

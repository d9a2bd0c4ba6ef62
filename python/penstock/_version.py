"""The version: the build and ``penstock.__version__`` read it from here."""

__version__ = "0.1.0"

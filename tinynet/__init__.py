"""The TinyNet family itself: specs, scaling, counting, pixels. Imports no framework."""

__version__ = "0.1.0"

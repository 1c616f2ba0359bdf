"""The TinyNet family itself: specs, scaling, counting, pixels. Imports no framework."""

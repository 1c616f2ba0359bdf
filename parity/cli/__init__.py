"""The verbs of ``tinynet parity``."""

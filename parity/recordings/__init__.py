"""Trace packs: what one framework computes, recorded on one machine and judged on any other."""

"""The workloads of benchmark.py, a file each, and the harness that runs them."""

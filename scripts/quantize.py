"""The same as ``tinynet quantize``."""

from tinynet.cli import run_script

if __name__ == "__main__":
    run_script(__file__)

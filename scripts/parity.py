"""The same as ``tinynet parity``."""

import sys

if __name__ == "__main__":
    # This folder, where parity.py would hide the package parity.
    del sys.path[0]
    from tinynet.cli import main

    main(["parity", *sys.argv[1:]])

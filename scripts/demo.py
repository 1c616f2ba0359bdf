"""The same as ``tinynet demo``."""

import sys

if __name__ == "__main__":
    # This folder, where parity.py would hide the package parity.
    del sys.path[0]
    from tinynet.cli import main

    main(["demo", *sys.argv[1:]])

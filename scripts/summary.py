"""The same as ``tinynet summary``."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, where parity.py would hide the package parity
    from tinynet.cli import main

    main(["summary", *sys.argv[1:]])

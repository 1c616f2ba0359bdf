"""The same as ``tinynet train``."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, where parity.py would hide the package parity
    from tinynet.cli import main

    main(["train", *sys.argv[1:]])

"""The same as ``tinynet deploy``."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, where parity.py would hide the package parity
    from tinynet.cli import main

    main(["deploy", *sys.argv[1:]])

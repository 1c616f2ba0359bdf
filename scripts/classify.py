"""The same as ``tinynet classify``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["classify", *sys.argv[1:]])

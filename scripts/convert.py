"""The same as ``tinynet convert``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["convert", *sys.argv[1:]])

"""The same as ``tinynet derive``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["derive", *sys.argv[1:]])

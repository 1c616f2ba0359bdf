"""The same as ``tinynet export``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["export", *sys.argv[1:]])

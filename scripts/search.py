"""The same as ``tinynet search``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["search", *sys.argv[1:]])

"""The same as ``tinynet evaluate``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["evaluate", *sys.argv[1:]])

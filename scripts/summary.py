"""The same as ``tinynet summary``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["summary", *sys.argv[1:]])

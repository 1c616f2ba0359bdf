"""The same as ``tinynet deploy``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["deploy", *sys.argv[1:]])

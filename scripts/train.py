"""The same as ``tinynet train``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["train", *sys.argv[1:]])

"""The same as ``tinynet make_subset``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["make_subset", *sys.argv[1:]])

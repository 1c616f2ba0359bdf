"""The same as ``tinynet pack_dataset``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["pack_dataset", *sys.argv[1:]])

"""The same as ``tinynet quantize``."""

import sys

if __name__ == "__main__":
    from tinynet.cli import main

    main(["quantize", *sys.argv[1:]])

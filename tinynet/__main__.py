"""``python -m tinynet`` is the program ``tinynet``, for launchers that start a module."""

from tinynet.cli import main

if __name__ == "__main__":
    main()

"""The specs that are shipped, and their schema; :func:`tinynet.spec.load_spec` reads them."""

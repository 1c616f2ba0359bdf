"""JSON documents with one mistake, and what the error about them looks like."""

import json


def one_line(error):
    """Returns what an error says, which is one line."""
    assert "\n" not in str(error)
    return str(error)


def changed(text, *path, to):
    """Returns a document in which the value at a path is another."""
    document, parent = _parent(text, path)
    parent[path[-1]] = to
    return json.dumps(document)


def without(text, *path):
    """Returns a document in which the key at a path is missing."""
    document, parent = _parent(text, path)
    del parent[path[-1]]
    return json.dumps(document)


def _parent(text, path):
    document = parent = json.loads(text)
    for step in path[:-1]:
        parent = parent[step]
    return document, parent

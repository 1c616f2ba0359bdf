"""Files of weights and of training states: formats, layouts of other projects, conversion."""

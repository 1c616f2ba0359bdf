"""What a person reads of a parity run: text in a terminal, and a page on its own."""

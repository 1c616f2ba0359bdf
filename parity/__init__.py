"""Proof that the twins are the same. Compares arrays; reaches a twin only through load_backend."""

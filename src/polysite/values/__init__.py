"""Frozen values that every room shares: types, keys, tables, rows."""

"""Mirrors `schemas`."""

"""Decisions, apart from input and output: values in, values out; no clock, no store, no await."""

"""Tests mirror the packages: tests/schemas, tests/producers, tests/workers; journeys, chaos and benchmarks beside."""

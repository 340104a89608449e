"""Tests of the harness, and of the kernel as seen from outside."""

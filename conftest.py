"""Makes the harness's fixtures and options known to every test of the tree."""

pytest_plugins = ("grade.plugin",)

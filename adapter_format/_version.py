"""The version of the tool, independent of the version of the specification."""

__version__ = "0.1.0"

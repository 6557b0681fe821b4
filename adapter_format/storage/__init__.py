"""Bytes in and out: containers, directories, atomic writes. Nothing here knows a rule or a method."""

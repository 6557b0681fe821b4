"""Mends that a finding may carry: each computes what would change, and writes nothing by itself."""

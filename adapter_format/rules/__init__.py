"""The rules, one file a family; each is declared beside its check."""

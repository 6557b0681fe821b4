"""Reports: findings in, text or JSON out."""

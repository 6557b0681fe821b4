"""What other projects can test with: valid examples, their mutations, and Hypothesis strategies."""

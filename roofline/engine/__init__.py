"""From a question to its answer: scenario, layout, counts, price, estimate."""

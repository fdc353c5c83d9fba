"""What was observed: measurements and their statistics, validations, published results."""

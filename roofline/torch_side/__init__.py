"""The measuring side: real models, token reducers on them, and the only home of torch."""

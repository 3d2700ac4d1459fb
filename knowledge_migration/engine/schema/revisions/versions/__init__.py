"""One module per revision; `schema.steps` declares the steps of each."""

"""What is made of a result: datasets, tables, reports, posteriors."""

"""What is told of a study to others: its tables, figures and pages. Reads a study, never writes it.

It may import `results` and what stands below that, and of fmnist_models the style of charts and
pages; matplotlib, pandas and pyarrow only where they are used, as a CSV file needs none of them.
"""

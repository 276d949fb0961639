"""The report: one HTML file, PNG charts and Markdown tables, made from records alone."""

"""Report: values and a Markdown template, rendered to HTML and PDF."""

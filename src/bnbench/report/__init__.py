"""The report: sections in Markdown, rendered to HTML and PDF."""

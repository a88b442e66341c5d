"""Claims: published statements, judged by the finished runs of a study."""

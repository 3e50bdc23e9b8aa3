"""An experiment's report: what it says (blocks), and how Markdown, HTML and LaTeX write that."""

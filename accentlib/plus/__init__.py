"""Beyond the paper: what makes explanations hold, measured remedy by remedy (chapter `book/plus.md`)."""

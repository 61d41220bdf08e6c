"""Who may do what: API keys of programs, operators who sign in, promises to a repeated request."""

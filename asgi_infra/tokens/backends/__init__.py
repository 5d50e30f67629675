"""One backend of the token store a module; they never import each other."""

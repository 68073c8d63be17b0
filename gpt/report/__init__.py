"""Reading and comparing what finished runs left behind."""

"""What a root can give: the outputs of each product, found by name or path, in batches; nothing is written here."""

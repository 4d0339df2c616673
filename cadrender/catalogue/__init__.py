"""What a root can provide: the outputs of each product, by name or path, in batches; nothing is written here."""

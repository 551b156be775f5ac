"""What was billed, published: whole, in order, and in PostgreSQL as well."""

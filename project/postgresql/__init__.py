"""Django's backend for PostgreSQL, with passwords that rotate and servers that hang."""

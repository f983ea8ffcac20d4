"""The only room that talks to MongoDB; everyone else calls what it offers."""

"""The database: tables, migrations, the prediction log."""

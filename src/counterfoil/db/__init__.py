"""The database: connection, transactions, migrations, the queue, and the loading of records."""
